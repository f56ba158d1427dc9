//! Parquet shards, as the dataset's layout has them: `image` {bytes, path},
//! `label`, `image_id`.

use anyhow::{Context, Result, ensure};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Int64Type,
};
use bytes::Bytes;
use maskline_messages::ImageId;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Rows that are read at a time.
const ROWS: usize = 256;

/// One image as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub image: ImageId,
    /// Index into the dataset's classes.
    pub class: usize,
    /// The normalized image.
    pub jpeg: Bytes,
}

/// Every row of a shard, of a dataset of `classes` classes. An error says what
/// is wrong with the file.
pub fn read(parquet: Bytes, classes: usize) -> Result<Vec<Row>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(parquet)?;
    let mut rows = vec![];
    for batch in builder.with_batch_size(ROWS).build()? {
        append(&batch?, classes, &mut rows)?;
    }
    Ok(rows)
}

fn append(batch: &RecordBatch, classes: usize, rows: &mut Vec<Row>) -> Result<()> {
    let image = batch
        .column_by_name("image")
        .and_then(|c| c.as_struct_opt());
    let jpegs = image
        .and_then(|image| image.column_by_name("bytes"))
        .and_then(|column| column.as_binary_opt::<i32>())
        .context("it has no column image.bytes of binary values")?;
    let labels = batch
        .column_by_name("label")
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .context("it has no column label of 64-bit integers")?;
    let ids = batch
        .column_by_name("image_id")
        .and_then(|column| column.as_string_opt::<i32>())
        .context("it has no column image_id of text")?;
    let nulls = jpegs.null_count() + labels.null_count() + ids.null_count();
    ensure!(nulls == 0, "some of its values are missing");
    for row in 0..batch.num_rows() {
        let label = labels.value(row);
        let class = usize::try_from(label).ok().filter(|&class| class < classes);
        rows.push(Row {
            image: ids.value(row).parse()?,
            class: class
                .with_context(|| format!("label {label} is none of its {classes} classes"))?,
            jpeg: Bytes::copy_from_slice(jpegs.value(row)),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn what_was_written_is_read() {
        let row = |class, jpeg: &'static [u8]| Row {
            image: ImageId::of(jpeg),
            class,
            jpeg: Bytes::from_static(jpeg),
        };
        let rows = vec![row(0, b"one"), row(1, b"two"), row(0, b"three")];
        assert_eq!(read(fixtures::parquet(&rows), 2).unwrap(), rows);
    }

    #[test]
    fn a_label_that_is_no_class_and_a_file_that_is_none_are_refused() {
        let row = Row {
            image: ImageId::of(b""),
            class: 2,
            jpeg: Bytes::new(),
        };
        let refused = read(fixtures::parquet(&[row]), 2).unwrap_err();
        assert!(refused.to_string().contains("label 2"), "{refused}");
        assert!(read(Bytes::from_static(b"PAR1 not"), 2).is_err());
    }
}
