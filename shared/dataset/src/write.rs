//! Writes images into a shard.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BinaryArray, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray,
        StringBuilder, StructArray, TimestampMillisecondArray,
    },
    datatypes::Schema,
};
use bytes::Bytes;
use maskline_messages::Label;
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
};
use serde_json::{Map, Value, json};

use crate::{
    columns::{COLUMNS, Kind, TIME_ZONE, fields, image_fields},
    error::ShardError,
    example::Example,
    faces,
};

/// The largest number of rows in a shard.
pub const SHARD_ROWS: usize = 2_000;

/// The number of rows in a row group, which are in memory at the same time.
pub const GROUP_ROWS: usize = 250;

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
        let columns = COLUMNS.iter().map(|column| values(column.kind, examples));
        let batch = RecordBatch::try_new(self.schema.clone(), columns.collect())?;
        self.writer.write(&batch)?;
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

/// The values of one column.
fn values(kind: Kind, examples: &[Example]) -> ArrayRef {
    let rows = examples.iter();
    match kind {
        Kind::Image => {
            let paths = rows.clone().map(|row| format!("{}.jpg", row.image));
            let jpegs = BinaryArray::from_iter_values(rows.clone().map(|row| &row.jpeg));
            let columns: Vec<ArrayRef> = vec![
                Arc::new(jpegs),
                Arc::new(StringArray::from_iter_values(paths)),
            ];
            Arc::new(StructArray::new(image_fields(), columns, None))
        }
        Kind::Label => Arc::new(Int64Array::from_iter_values(
            rows.map(|row| row.class as i64),
        )),
        Kind::ImageId => Arc::new(StringArray::from_iter_values(
            rows.map(|row| row.image.to_string()),
        )),
        Kind::Group => Arc::new(StringArray::from_iter(
            rows.map(|row| row.group.map(|group| group.to_string())),
        )),
        Kind::Width => Arc::new(Int32Array::from_iter_values(
            rows.map(|row| row.width as i32),
        )),
        Kind::Height => Arc::new(Int32Array::from_iter_values(
            rows.map(|row| row.height as i32),
        )),
        Kind::OriginalWidth => Arc::new(Int32Array::from_iter(
            rows.map(|row| row.original.map(|original| original.width as i32)),
        )),
        Kind::OriginalHeight => Arc::new(Int32Array::from_iter(
            rows.map(|row| row.original.map(|original| original.height as i32)),
        )),
        Kind::OriginalBytes => Arc::new(Int64Array::from_iter(rows.map(|row| {
            let bytes = row.original.and_then(|original| original.bytes);
            bytes.map(|bytes| bytes as i64)
        }))),
        Kind::OriginalFormat => {
            Arc::new(StringArray::from_iter(rows.map(|row| {
                row.original.map(|original| original.format.as_str())
            })))
        }
        Kind::Faces => faces::values(examples),
        Kind::Text(text) => Arc::new(StringArray::from_iter(
            rows.map(|row| text(&row.provenance).as_deref()),
        )),
        Kind::Fetched => {
            let times = rows.map(|row| row.provenance.fetched);
            Arc::new(TimestampMillisecondArray::from_iter(times).with_timezone(TIME_ZONE))
        }
        Kind::Jobs => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for row in rows {
                lists.append_value(row.provenance.jobs.iter().map(|job| Some(job.to_string())));
            }
            Arc::new(lists.finish())
        }
    }
}

/// The metadata from which Hugging Face `datasets` learns that one column is an `Image`
/// and another a `ClassLabel`.
fn features(classes: &[Label]) -> String {
    // Older versions know no other name for a list, and newer ones know this one.
    let list_of = |feature: Value| json!({ "feature": feature, "_type": "Sequence" });
    let number = json!({ "dtype": "float32", "_type": "Value" });
    let features: Map<String, Value> = COLUMNS
        .iter()
        .map(|column| {
            let feature = match (column.kind, column.kind.value_type()) {
                (_, Some(dtype)) => json!({ "dtype": dtype, "_type": "Value" }),
                (Kind::Label, _) => json!({ "names": classes, "_type": "ClassLabel" }),
                (Kind::Jobs, _) => list_of(json!({ "dtype": "string", "_type": "Value" })),
                // A list of structs has no name: as a `Sequence` it would be a struct of lists.
                (Kind::Faces, _) => json!([{
                    "bbox": list_of(number.clone()),
                    "keypoints": list_of(list_of(number.clone())),
                    "score": number,
                }]),
                _ => json!({ "_type": "Image" }),
            };
            (column.name.to_owned(), feature)
        })
        .collect();
    json!({ "info": { "features": features } }).to_string()
}
