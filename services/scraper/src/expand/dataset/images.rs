//! A Parquet file with a column of images: a struct of `bytes` and `path`, as `datasets` writes
//! it, or the bytes alone.

use std::path::{Path, PathBuf};

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::DataType,
};
use bytes::Bytes;
use maskline_messages::{Labeling, Location, Provenance, Reason};

use crate::expand::{
    blocking,
    candidate::{ExpansionStep, STEP_CONTENT, STEP_SIZE, SourceCandidate},
    columns,
    error::ExpandError,
    label::{folders_in, folders_of, label_of, label_of_text},
    list::{file_in, parquet_format::LabelColumn},
    parquet_file::{ParquetFile, Row, Rows, is_text},
    provenance::{self, MAX_OTHER},
    source_file::SourceFile,
};

/// A file of which the next rows can be read without passing over those before.
pub(in crate::expand) struct OpenImages {
    file: SourceFile,
    location: Location,
    /// The dataset's folder, in which rows may name files.
    root: Option<PathBuf>,
    rows: Rows,
    image: String,
    label: Option<LabelColumn>,
    others: Vec<String>,
}

/// Reads the next rows: [`STEP_SIZE`] of them, or as many as have about [`STEP_CONTENT`] bytes.
/// An image of more than `most` bytes is rejected.
pub(super) async fn step(
    file: SourceFile,
    location: &Location,
    root: Option<&Path>,
    labeling: Option<&Labeling>,
    cursor: Option<&str>,
    kept: Option<Box<OpenImages>>,
    most: u64,
) -> Result<(ExpansionStep, Box<OpenImages>), ExpandError> {
    let name = location.shown();
    let first = match cursor {
        Some(cursor) => row_of(cursor, file.version(), &name)?,
        None => 0,
    };
    let (location, labeling) = (location.clone(), labeling.cloned());
    let root = root.map(Path::to_owned);
    blocking(&name, move || {
        let labeling = labeling.as_ref();
        let kept = kept.filter(|kept| kept.rows.position() == first && !kept.has_changed());
        let mut images = match kept {
            Some(kept) => kept,
            None => Box::new(OpenImages::open(file, location, root, labeling, first)?),
        };
        let step = images.take_step(labeling, most)?;
        Ok((step, images))
    })
    .await
}

/// Reads a cursor: the number of the next row, and the version of the file.
fn row_of(cursor: &str, version: &str, name: &str) -> Result<u64, ExpandError> {
    let (row, of_version) = cursor.split_once(':').unwrap_or((cursor, ""));
    let row = row.parse().map_err(|_| {
        ExpandError::Source(format!(
            "the cursor {cursor:?} is not a position in {name}: enqueue the dataset again"
        ))
    })?;
    if of_version != version {
        return Err(ExpandError::Source(format!(
            "{name} was changed while it was read, at row {row}: enqueue the dataset again"
        )));
    }
    Ok(row)
}

impl OpenImages {
    fn open(
        file: SourceFile,
        location: Location,
        root: Option<PathBuf>,
        labeling: Option<&Labeling>,
        first: u64,
    ) -> Result<Self, ExpandError> {
        let name = location.shown();
        let parquet = ParquetFile::open(file.read()?, &name)?;
        let image = image_column(&parquet, &name)?;
        let label = LabelColumn::find(&parquet, labeling, &name)?;
        let is_other = |column: &&str| {
            let is_label = label.as_ref().is_some_and(|label| label.name == **column);
            **column != image && !is_label
        };
        let texts = parquet.columns().filter(|(_, kind)| is_text(kind));
        let others = texts.map(|(name, _)| name).filter(is_other);
        let others: Vec<_> = others.map(str::to_owned).take(2 * MAX_OTHER).collect();
        let is_read = |name: &str| {
            name == image
                || label.as_ref().is_some_and(|label| label.name == name)
                || others.iter().any(|other| other == name)
        };
        let read = parquet.columns().enumerate();
        let read: Vec<_> = read
            .filter(|(_, (name, _))| is_read(name))
            .map(|(index, _)| index)
            .collect();
        Ok(Self {
            rows: parquet.rows(&read, first)?,
            file,
            location,
            root,
            image,
            label,
            others,
        })
    }

    pub(super) fn file(&self) -> &SourceFile {
        &self.file
    }

    pub(super) fn is_of(&self, path: &Path) -> bool {
        self.file.path() == path
    }

    pub(super) fn has_changed(&self) -> bool {
        self.file.has_changed()
    }

    fn take_step(
        &mut self,
        labeling: Option<&Labeling>,
        most: u64,
    ) -> Result<ExpansionStep, ExpandError> {
        let mut step = ExpansionStep::default();
        let mut content = 0;
        while step.candidates.len() < STEP_SIZE && content < STEP_CONTENT {
            let Some(row) = self.rows.next()? else {
                return Ok(step);
            };
            let candidate = self.candidate(&row, labeling, most);
            content += candidate.content.as_ref().map_or(0, Bytes::len) as u64;
            step.candidates.push(candidate);
        }
        let next = self.rows.position();
        step.next_cursor = Some(format!("{next}:{}", self.file.version()));
        Ok(step)
    }

    fn candidate(&self, row: &Row, labeling: Option<&Labeling>, most: u64) -> SourceCandidate {
        let cell = self.row_image(row);
        let told = self.label.as_ref().and_then(|label| label.text(row));
        let label = match told {
            Some(text) => label_of_text(&text, labeling).map_err(|_| Reason::BadLabel {
                text: provenance::clean(&text),
            }),
            None => label_of(labeling, || match &self.location {
                Location::Url(url) => folders_in(url),
                _ => folders_of(self.file.path()),
            }),
        };
        let others = self.others.iter();
        let others = others.filter_map(|name| Some((name.as_str(), row.text(name)?.into())));
        let provenance: Provenance = provenance::of_columns(others);
        let path = cell.path.unwrap_or_default();
        let located = Location::Member {
            archive: Box::new(self.location.clone()),
            index: row.number,
            name: path.clone(),
        };
        // Without bytes, the path is that of a file beside.
        let elsewhere = match (&cell.bytes, &self.root) {
            (None, Some(root)) if !path.is_empty() => file_in(root, &path).ok(),
            _ => None,
        };
        let mut candidate = match (cell.bytes, elsewhere) {
            (_, Some(file)) => SourceCandidate::new(Location::Path(file), label),
            (None, None) => {
                let detail = "the row has no bytes of an image".to_owned();
                SourceCandidate::rejected(located, Reason::Unreadable { detail })
            }
            (Some(bytes), None) => {
                let size = bytes.len() as u64;
                let content = match size {
                    0 => Err(Reason::Empty),
                    bytes if bytes > most => Err(Reason::TooManyBytes { bytes, most }),
                    _ => Ok(bytes),
                };
                SourceCandidate::with_content(located, label, content)
            }
        };
        candidate.provenance = provenance;
        candidate
    }

    fn row_image(&self, row: &Row) -> Cell {
        let Some(column) = row.column(&self.image) else {
            return Cell::default();
        };
        let bytes_of = |column: &ArrayRef| row.bytes(column).map(Bytes::copy_from_slice);
        match column.data_type() {
            DataType::Struct(_) => {
                let parts = column.as_struct();
                let text = |name| row.text_in(parts.column_by_name(name)?);
                Cell {
                    bytes: parts.column_by_name("bytes").and_then(bytes_of),
                    path: text("path"),
                }
            }
            _ => Cell {
                bytes: bytes_of(column),
                path: None,
            },
        }
    }
}

/// The cell of an image.
#[derive(Default)]
struct Cell {
    bytes: Option<Bytes>,
    path: Option<String>,
}

/// The column that holds images: one that `datasets` says is an `Image`, or else one with a usual
/// name, and bytes in it.
fn image_column(file: &ParquetFile, name: &str) -> Result<String, ExpandError> {
    let holds_bytes = |kind: &DataType| match kind {
        DataType::Struct(parts) => parts.iter().any(|part| part.name() == "bytes"),
        kind => matches!(
            kind,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        ),
    };
    let candidates = file.columns().filter(|(_, kind)| holds_bytes(kind));
    let names = candidates.map(|(name, _)| name);
    let is_image = |name: &str| {
        let feature = file.feature(name);
        feature.is_some_and(|feature| feature.get("_type").is_some_and(|kind| kind == "Image"))
    };
    let told = names.clone().find(|name| is_image(name));
    let usual = || {
        let index = columns::find(names.clone(), None, &columns::IMAGE)?;
        names.clone().nth(index)
    };
    told.or_else(usual).map(str::to_owned).ok_or_else(|| {
        let all = || file.columns().map(|(name, _)| name);
        let advice = match columns::find(all(), None, &columns::URL) {
            Some(_) => "it is a list of URLs: enqueue it with `maskline enqueue urls`",
            None => "a dataset has a column `image` with the bytes of images",
        };
        ExpandError::Source(format!(
            "the Parquet file {name} has no column of images (its columns: {}): {advice}",
            columns::listed(all())
        ))
    })
}
