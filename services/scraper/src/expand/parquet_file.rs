//! A Parquet file, read row by row from any row on, in bounded memory.
//!
//! The row groups before the first row that is wanted are not read at all. Within a group, the
//! pages before it are passed over.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Float32Type, Float64Type},
    util::display::array_value_to_string,
};
use maskline_foundation::text::first_bytes;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder,
        },
    },
    errors::ParquetError,
};
use serde_json::Value;

use super::{error::ExpandError, json};

/// How many bytes the rows of a batch should have together, decompressed. All of a batch is in
/// memory.
const BATCH_BYTES: u64 = 8 << 20;

/// How many rows a batch has at most.
const BATCH_ROWS: u64 = 1000;

/// How many bytes of a cell's text are looked at. No URL is longer.
const MAX_CELL: usize = 64 << 10;

/// How many bytes the columns that are read may have in a row group, for each byte that they
/// have in the file, beyond [`FREE`]. More than that is no dataset but a bomb.
const MAX_RATIO: u64 = 1000;
const FREE: u64 = 64 << 20;

/// A Parquet file begins with this.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// A Parquet file with its metadata.
pub(super) struct ParquetFile {
    file: File,
    metadata: ArrowReaderMetadata,
    /// What errors call it.
    name: String,
}

impl ParquetFile {
    pub(super) fn open(file: File, name: &str) -> Result<Self, ExpandError> {
        let mut first = [0; MAGIC.len()];
        let read = file.read_at(&mut first, 0).map_err(ExpandError::retry)?;
        if first[..read] != *MAGIC {
            return Err(ExpandError::Source(format!(
                "{name} is no Parquet file, because it does not begin with PAR1: an archive is \
                 enqueued with `maskline enqueue archive`, and a list with `maskline enqueue urls`"
            )));
        }
        let loaded = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
        let metadata = loaded.map_err(|error| broken(name, &error))?;
        Ok(Self {
            file,
            metadata,
            name: name.to_owned(),
        })
    }

    /// The columns' names and types.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&str, &DataType)> + Clone {
        let fields = self.metadata.schema().fields().iter();
        fields.map(|field| (field.name().as_str(), field.data_type()))
    }

    /// The names of the classes that the numbers in this column mean, if it is a `ClassLabel` of
    /// Hugging Face's `datasets`.
    pub(super) fn classes(&self, column: &str) -> Option<Vec<String>> {
        let feature = self.feature(column)?;
        let is_label = feature.get("_type")? == "ClassLabel";
        let names = feature.get("names").filter(|_| is_label)?.as_array()?;
        let names = names.iter().map(|name| name.as_str().map(str::to_owned));
        names.collect()
    }

    /// What `datasets` wrote about a column.
    pub(super) fn feature(&self, column: &str) -> Option<Value> {
        let metadata = self.metadata.metadata().file_metadata();
        let mut pairs = metadata.key_value_metadata()?.iter();
        let text = pairs
            .find(|pair| pair.key == "huggingface")?
            .value
            .as_ref()?;
        let value: Value = serde_json::from_str(text).ok()?;
        value.get("info")?.get("features")?.get(column).cloned()
    }

    /// The rows from the one with the number `first` on, with the columns of these indices, in
    /// the file's order.
    pub(super) fn rows(&self, columns: &[usize], first: u64) -> Result<Rows, ExpandError> {
        let metadata = self.metadata.metadata();
        let projection =
            ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        let (mut groups, mut before, mut bytes, mut rows) = (vec![], 0_u64, 0_u64, 0_u64);
        for (index, group) in metadata.row_groups().iter().enumerate() {
            let count = u64::try_from(group.num_rows()).unwrap_or_default();
            if groups.is_empty() && before + count <= first {
                before += count;
                continue;
            }
            groups.push(index);
            let read = group.columns().iter().enumerate();
            let read = read.filter(|(leaf, _)| projection.leaf_included(*leaf));
            let sizes = read.map(|(_, column)| {
                let size = |size: i64| u64::try_from(size).unwrap_or_default();
                (
                    size(column.uncompressed_size()),
                    size(column.compressed_size()),
                )
            });
            let (unpacked, packed) = sizes.fold((0_u64, 0_u64), |sum, size| {
                (sum.0.saturating_add(size.0), sum.1.saturating_add(size.1))
            });
            if unpacked > FREE.saturating_add(packed.saturating_mul(MAX_RATIO)) {
                return Err(ExpandError::Source(format!(
                    "{}: row group {index} has {packed} bytes that become {unpacked}: this is no \
                     dataset",
                    self.name
                )));
            }
            bytes = bytes.saturating_add(unpacked);
            rows += count;
        }
        let average = bytes / rows.max(1);
        let batch = (BATCH_BYTES / average.max(1)).clamp(1, BATCH_ROWS);
        let file = self.file.try_clone().map_err(ExpandError::retry)?;
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_projection(projection)
                .with_row_groups(groups)
                .with_batch_size(batch as usize)
                .with_offset(usize::try_from(first - before.min(first)).unwrap_or(usize::MAX))
                .build()
                .map_err(|error| broken(&self.name, &error))?;
        Ok(Rows {
            reader,
            batch: None,
            next: first,
            name: self.name.clone(),
        })
    }
}

fn broken(name: &str, error: &ParquetError) -> ExpandError {
    ExpandError::Source(format!(
        "{name} is no Parquet file that can be read, or it is damaged: {error}"
    ))
}

/// The rows of a file, one after the other.
pub(super) struct Rows {
    reader: ParquetRecordBatchReader,
    /// The rows in hand, and the index of the next of them.
    batch: Option<(Arc<RecordBatch>, usize)>,
    /// The number of the next row, counted from 0.
    next: u64,
    name: String,
}

impl Rows {
    /// The number of the row that [`next`](Self::next) gives, counted from 0.
    pub(super) fn position(&self) -> u64 {
        self.next
    }

    /// The next row, or `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Row>, ExpandError> {
        loop {
            if let Some((batch, index)) = &mut self.batch
                && *index < batch.num_rows()
            {
                let row = Row {
                    batch: batch.clone(),
                    index: *index,
                    number: self.next,
                };
                *index += 1;
                self.next += 1;
                return Ok(Some(row));
            }
            // The old batch goes before the new one comes.
            self.batch = None;
            match self.reader.next() {
                Some(Ok(batch)) => self.batch = Some((Arc::new(batch), 0)),
                Some(Err(error)) => {
                    let error = ParquetError::ArrowError(error.to_string());
                    return Err(broken(
                        &format!("{} from row {}", self.name, self.next),
                        &error,
                    ));
                }
                None => return Ok(None),
            }
        }
    }
}

/// One row.
pub(super) struct Row {
    batch: Arc<RecordBatch>,
    index: usize,
    /// The row's number in the file, counted from 0.
    pub(super) number: u64,
}

impl Row {
    /// The column that has this name.
    pub(super) fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.batch.column_by_name(name)
    }

    /// The text of the cell in the column with this name. An empty cell has none.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        cell_text(self.column(name)?, self.index)
    }

    /// The bytes of the cell in `column`, which is one of this row's or a part of one.
    pub(super) fn bytes<'a>(&self, column: &'a dyn Array) -> Option<&'a [u8]> {
        if column.is_null(self.index) {
            return None;
        }
        match column.data_type() {
            DataType::Binary => Some(column.as_binary::<i32>().value(self.index)),
            DataType::LargeBinary => Some(column.as_binary::<i64>().value(self.index)),
            DataType::BinaryView => Some(column.as_binary_view().value(self.index)),
            _ => None,
        }
    }

    /// The text of the cell in `column`, which is one of this row's or a part of one.
    pub(super) fn text_in(&self, column: &dyn Array) -> Option<String> {
        cell_text(column, self.index)
    }
}

/// Returns whether cells of this type have a text that is worth keeping.
pub(super) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => is_text(value),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Null => false,
        other => !other.is_nested(),
    }
}

fn cell_text(column: &dyn Array, index: usize) -> Option<String> {
    if column.is_null(index) {
        return None;
    }
    let cut = |text: &str| Some(first_bytes(text, MAX_CELL).to_owned());
    match column.data_type() {
        DataType::Utf8 => cut(column.as_string::<i32>().value(index)),
        DataType::LargeUtf8 => cut(column.as_string::<i64>().value(index)),
        DataType::Utf8View => cut(column.as_string_view().value(index)),
        // A column of whole numbers with empty cells becomes one of floats in pandas.
        DataType::Float64 => Some(json::number_text(
            column.as_primitive::<Float64Type>().value(index),
        )),
        DataType::Float32 => Some(json::number_text(f64::from(
            column.as_primitive::<Float32Type>().value(index),
        ))),
        data_type if is_text(data_type) => {
            let text = array_value_to_string(column, index).ok()?;
            cut(&text)
        }
        _ => None,
    }
}
