//! A Parquet file with a column of URLs.

use maskline_messages::Labeling;

use super::{
    local::LocalList,
    position::ListPosition,
    row::{ListContext, ListRow, RowsRead},
};
use crate::expand::{
    candidate::STEP_SIZE,
    columns,
    error::ExpandError,
    parquet_file::{ParquetFile, Row, Rows, is_text},
    provenance::{self, MAX_OTHER},
};

/// A file of which the next rows can be read without passing over those before.
pub(super) struct OpenRows {
    rows: Rows,
    columns: Columns,
}

/// Reads the next [`STEP_SIZE`] rows. A position is the number of a row.
pub(super) fn read(
    list: &LocalList,
    begin: Option<ListPosition>,
    context: &ListContext,
) -> Result<RowsRead, ExpandError> {
    let first = begin.map_or(0, |begin| begin.byte);
    let kept = list.rows.lock().take();
    let mut open = match kept.filter(|open| open.rows.position() == first) {
        Some(open) => open,
        None => OpenRows::open(list, first, context)?,
    };
    let mut candidates = vec![];
    while candidates.len() < STEP_SIZE {
        let Some(row) = open.rows.next()? else {
            return Ok(RowsRead {
                candidates,
                next: None,
            });
        };
        let target = row.text(&open.columns.target).unwrap_or_default();
        let label = open.columns.label_of(&row);
        let others = open.columns.others.iter();
        let others = others.filter_map(|name| Some((name.as_str(), row.text(name)?.into())));
        let row = ListRow {
            number: row.number + 1,
            target: target.trim(),
            label: label.as_deref(),
            provenance: provenance::of_columns(others),
        };
        candidates.push(row.candidate(context));
    }
    let next = ListPosition {
        byte: open.rows.position(),
        line: open.rows.position() + 1,
        has_rows: true,
    };
    *list.rows.lock() = Some(open);
    Ok(RowsRead {
        candidates,
        next: Some(next),
    })
}

impl OpenRows {
    fn open(list: &LocalList, first: u64, context: &ListContext) -> Result<Self, ExpandError> {
        let file = ParquetFile::open(list.read()?, &context.name)?;
        let columns = Columns::find(&file, context)?;
        let read: Vec<usize> = file
            .columns()
            .enumerate()
            .filter(|(_, (name, _))| columns.reads(name))
            .map(|(index, _)| index)
            .collect();
        Ok(Self {
            rows: file.rows(&read, first)?,
            columns,
        })
    }
}

/// The columns that are read, by name.
struct Columns {
    target: String,
    label: Option<LabelColumn>,
    others: Vec<String>,
}

/// A column of labels.
pub(in crate::expand) struct LabelColumn {
    pub(in crate::expand) name: String,
    /// What the numbers in it mean. Without classes a number is a text.
    classes: Vec<String>,
}

impl LabelColumn {
    /// The column of labels that `labeling` asks for, if it asks for one.
    pub(in crate::expand) fn find(
        file: &ParquetFile,
        labeling: Option<&Labeling>,
        name: &str,
    ) -> Result<Option<Self>, ExpandError> {
        let Some(Labeling::Column { name: asked, .. }) = labeling else {
            return Ok(None);
        };
        let asked = asked.as_deref();
        let names = file.columns().map(|(name, _)| name);
        let Some(index) = columns::find(names.clone(), asked, &columns::LABEL) else {
            return Err(ExpandError::Source(format!(
                "the Parquet file {name} has no column `{}` (its columns: {}): name another with \
                 --label-column, or use --label CLASS",
                asked.unwrap_or("label"),
                columns::listed(names)
            )));
        };
        let name = file.columns().nth(index).map(|(name, _)| name);
        let name = name.unwrap_or_default().to_owned();
        Ok(Some(Self {
            classes: file.classes(&name).unwrap_or_default(),
            name,
        }))
    }

    /// The text of the label in a row.
    pub(in crate::expand) fn text(&self, row: &Row) -> Option<String> {
        let text = row.text(&self.name)?;
        let class = text
            .parse()
            .ok()
            .and_then(|index: usize| self.classes.get(index));
        Some(class.cloned().unwrap_or(text))
    }
}

impl Columns {
    fn find(file: &ParquetFile, context: &ListContext) -> Result<Self, ExpandError> {
        let name = &context.name;
        let texts = file.columns().filter(|(_, data_type)| is_text(data_type));
        let texts = texts.map(|(name, _)| name);
        let asked = context.column.as_deref();
        let Some(target) = columns::find(texts.clone(), asked, context.usual_columns()) else {
            let has_images = file.columns().any(|(_, data_type)| !is_text(data_type));
            let advice = match has_images {
                true => {
                    "name one with --url-column, or, if the images themselves are in it, \
                         enqueue it with `maskline enqueue dataset`"
                }
                false => "name one with --url-column",
            };
            return Err(ExpandError::Source(format!(
                "the Parquet file {name} has no column `{}` (its columns: {}): {advice}",
                asked.unwrap_or(context.target()),
                columns::listed(file.columns().map(|(name, _)| name))
            )));
        };
        let target = texts.clone().nth(target).unwrap_or_default().to_owned();
        let label = LabelColumn::find(file, context.labeling.as_ref(), name)?;
        let is_other = |column: &&str| {
            *column != target && label.as_ref().is_none_or(|label| label.name != **column)
        };
        let others = texts.filter(is_other).map(str::to_owned);
        Ok(Self {
            // Some of these become fields of the provenance, and so there may be more of them.
            others: others.take(2 * MAX_OTHER).collect(),
            target,
            label,
        })
    }

    fn reads(&self, name: &str) -> bool {
        self.target == name
            || self.label.as_ref().is_some_and(|label| label.name == name)
            || self.others.iter().any(|other| other == name)
    }

    fn label_of(&self, row: &Row) -> Option<String> {
        self.label.as_ref()?.text(row)
    }
}
