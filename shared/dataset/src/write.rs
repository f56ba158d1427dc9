//! Writes images into a shard.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field, Fields, Schema},
};
use bytes::Bytes;
use maskline_messages::{ImageId, Label};
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
};

use crate::error::ShardError;

/// The largest number of rows in a shard.
pub const SHARD_ROWS: usize = 2_000;

/// The number of rows in a row group, which are in memory at the same time.
pub const GROUP_ROWS: usize = 250;

/// One image for a shard.
#[derive(Debug, Clone)]
pub struct Example {
    pub image: ImageId,
    /// An index into the dataset's classes.
    pub class: usize,
    /// The normalized image, a JPEG.
    pub jpeg: Bytes,
    /// The size of the normalized image in pixels.
    pub width: u32,
    pub height: u32,
}

/// Writes one shard, a row group at a time. The file is the concatenation of the pieces
/// that [`ShardWriter::write`] and [`ShardWriter::finish`] return.
pub struct ShardWriter {
    /// Its buffer holds the bytes that were not yet returned as a piece.
    writer: ArrowWriter<Vec<u8>>,
    schema: Arc<Schema>,
}

impl ShardWriter {
    /// A shard of a dataset that has these classes.
    pub fn new(classes: &[Label]) -> Result<Self, ShardError> {
        let features = features(classes);
        let metadata = HashMap::from([("huggingface".to_owned(), features.clone())]);
        let schema = Arc::new(Schema::new_with_metadata(fields(), metadata));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // JPEGs are compressed already: trying again costs time and saves nothing.
            .set_column_compression("image.bytes".into(), Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
            .set_key_value_metadata(Some(vec![KeyValue::new(
                "huggingface".to_owned(),
                features,
            )]))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
        Ok(Self { writer, schema })
    }

    /// Writes `examples` as one row group and returns the next piece of the file.
    pub fn write(&mut self, examples: &[Example]) -> Result<Bytes, ShardError> {
        let paths = examples.iter().map(|e| format!("{}.jpg", e.image));
        let image = StructArray::new(
            image_fields(),
            vec![
                Arc::new(BinaryArray::from_iter_values(
                    examples.iter().map(|e| &e.jpeg),
                )) as ArrayRef,
                Arc::new(StringArray::from_iter_values(paths)),
            ],
            None,
        );
        let columns: Vec<ArrayRef> = vec![
            Arc::new(image),
            Arc::new(Int64Array::from_iter_values(
                examples.iter().map(|e| e.class as i64),
            )),
            Arc::new(StringArray::from_iter_values(
                examples.iter().map(|e| e.image.to_string()),
            )),
            Arc::new(Int32Array::from_iter_values(
                examples.iter().map(|e| e.width as i32),
            )),
            Arc::new(Int32Array::from_iter_values(
                examples.iter().map(|e| e.height as i32),
            )),
        ];
        self.writer
            .write(&RecordBatch::try_new(self.schema.clone(), columns)?)?;
        self.writer.flush()?;
        self.writer.sync().map_err(ParquetError::from)?;
        Ok(std::mem::take(self.writer.inner_mut()).into())
    }

    /// Returns the last piece of the file.
    pub fn finish(self) -> Result<Bytes, ShardError> {
        Ok(self.writer.into_inner()?.into())
    }
}

/// Returns a complete shard with one row group.
pub fn shard(classes: &[Label], examples: &[Example]) -> Result<Bytes, ShardError> {
    let mut writer = ShardWriter::new(classes)?;
    let group = writer.write(examples)?;
    Ok([group, writer.finish()?].concat().into())
}

fn image_fields() -> Fields {
    Fields::from(vec![
        Field::new("bytes", DataType::Binary, false),
        Field::new("path", DataType::Utf8, false),
    ])
}

fn fields() -> Vec<Field> {
    vec![
        Field::new("image", DataType::Struct(image_fields()), false),
        Field::new("label", DataType::Int64, false),
        Field::new("image_id", DataType::Utf8, false),
        Field::new("width", DataType::Int32, false),
        Field::new("height", DataType::Int32, false),
    ]
}

/// The metadata from which Hugging Face `datasets` learns that one column is an `Image`
/// and another a `ClassLabel`.
fn features(classes: &[Label]) -> String {
    let value = |dtype: &str| serde_json::json!({ "dtype": dtype, "_type": "Value" });
    serde_json::json!({ "info": { "features": {
        "image": { "_type": "Image" },
        "label": { "names": classes, "_type": "ClassLabel" },
        "image_id": value("string"),
        "width": value("int32"),
        "height": value("int32"),
    }}})
    .to_string()
}
