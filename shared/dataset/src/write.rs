//! Images into a shard.

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

use crate::ShardError;

/// The most rows of a shard.
pub const SHARD_ROWS: usize = 2_000;

/// Rows that are in memory at a time, and of one row group.
pub const GROUP_ROWS: usize = 250;

/// One image as it is written.
#[derive(Debug, Clone)]
pub struct Example {
    pub image: ImageId,
    /// Index into the dataset's classes.
    pub class: usize,
    /// The normalized image, a JPEG, and its size in pixels.
    pub jpeg: Bytes,
    pub width: u32,
    pub height: u32,
}

/// Writes one shard, a row group at a time, in pieces which, one after the other, are the
/// file.
pub struct ShardWriter {
    /// Holds what is in no piece yet.
    writer: ArrowWriter<Vec<u8>>,
    schema: Arc<Schema>,
}

impl ShardWriter {
    pub fn new(classes: &[Label]) -> Result<Self, ShardError> {
        let features = features(classes);
        let metadata = HashMap::from([("huggingface".to_owned(), features.clone())]);
        let schema = Arc::new(Schema::new_with_metadata(fields(), metadata));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // JPEGs don't get smaller, only slower.
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

    /// The next piece: `examples` as one row group.
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

    /// The last piece.
    pub fn finish(self) -> Result<Bytes, ShardError> {
        Ok(self.writer.into_inner()?.into())
    }
}

/// A whole shard of one row group.
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

/// What Hugging Face `datasets` reads from a file's metadata to make an `Image`
/// and a `ClassLabel` of the columns.
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
