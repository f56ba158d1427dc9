//! A CSV (RFC 4180) whose first line names its columns. They may also be separated by tabs,
//! semicolons or bars.
//!
//! Blank lines and comments (`#`) may stand before that line, and so may a line `sep=;`, by which
//! Excel is told what separates the columns. A row with more fields than there are columns is
//! rejected, unless these are blank, because one of its texts was cut at what separates them. Where
//! there is one column, a row that is not in quotes is one text, whatever is in it.

use std::fs::File;

use super::{
    joined,
    position::ListPosition,
    record::Records,
    row::{ListContext, ListRow, RowsRead, without_secrets},
};
use crate::expand::{
    candidate::{STEP_BYTES, STEP_SIZE},
    columns,
    error::ExpandError,
    provenance,
};

/// Reads the next records: [`STEP_SIZE`] of them, or [`STEP_BYTES`]. `header` is the number of the
/// line that names the columns.
pub(super) fn read(
    file: File,
    delimiter: u8,
    header: u64,
    begin: Option<ListPosition>,
    context: &ListContext,
) -> Result<RowsRead, ExpandError> {
    let records = Records::open(file, header, delimiter, context);
    let mut records = records.map_err(ExpandError::retry)?;
    let named = records.read(None)?.map(|record| record.fields);
    let names: Vec<String> = named.iter().flatten().map(|name| text_of(name)).collect();
    let columns = Columns::find(&names, header, context)?;
    if let Some(begin) = begin {
        records.seek(begin).map_err(ExpandError::retry)?;
    }
    let first_byte = records.position().byte;
    let mut candidates = vec![];
    while candidates.len() < STEP_SIZE && records.position().byte - first_byte < STEP_BYTES {
        let Some(mut record) = records.read(Some(columns.target))? else {
            return Ok(RowsRead {
                candidates,
                next: None,
            });
        };
        if record.fields.is_empty() {
            continue;
        }
        if names.len() == 1 && !record.is_quoted {
            let is_text = |field: &Vec<u8>| !field.trim_ascii().is_empty();
            let last = record.fields.iter().rposition(is_text).unwrap_or(0);
            record.fields = vec![record.fields[..=last].join(&delimiter)];
        }
        let field = |column: usize| text_of(record.fields.get(column).map_or(&[], Vec::as_slice));
        let (target, label) = (field(columns.target), columns.label.map(field));
        let others = names.iter().zip(&record.fields).enumerate();
        let others = others.filter(|(index, _)| !columns.has(*index));
        let others = others.map(|(_, (name, text))| (name.as_str(), String::from_utf8_lossy(text)));
        let row = ListRow {
            number: record.number,
            target: &target,
            label: label.as_deref(),
            provenance: provenance::of_columns(others),
        };
        let mut more = record.fields.iter().skip(names.len());
        candidates.push(if more.any(|text| !text.trim_ascii().is_empty()) {
            let problem = format!(
                "more fields ({}) than columns ({}): put a text with {:?} in it in quotes",
                record.fields.len(),
                names.len(),
                char::from(delimiter)
            );
            row.bad(context, &without_secrets(&target), problem)
        } else if names.len() == 1 && !record.is_quoted && context.folder.is_none() {
            joined::checked(&target, row.candidate(context), record.number, context)
        } else {
            row.candidate(context)
        });
    }
    Ok(RowsRead {
        candidates,
        next: Some(records.position()),
    })
}

fn text_of(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim().to_owned()
}

/// The indices of the columns that have a meaning here.
#[derive(Debug, Clone, Copy)]
struct Columns {
    target: usize,
    label: Option<usize>,
}

impl Columns {
    fn find(names: &[String], line: u64, context: &ListContext) -> Result<Self, ExpandError> {
        if names.iter().all(String::is_empty) {
            return Err(ExpandError::Source(format!(
                "{}:{line}: the CSV is empty: write a line that names the columns, such as \
                 `url,label`, and a line for each image",
                context.name
            )));
        }
        let lacks = |column: &str, advice: &str| {
            ExpandError::Source(format!(
                "{}:{line}: the CSV has no column `{column}` (its columns: {}): {advice}",
                context.name,
                columns::listed(names.iter().map(String::as_str))
            ))
        };
        let index_of = |asked: Option<&str>, usual: &[&str]| {
            columns::find(names.iter().map(String::as_str), asked, usual)
        };
        let asked = context.column.as_deref();
        let target = index_of(asked, context.usual_columns()).ok_or_else(|| {
            let advice = match context.folder {
                None => "its first line must name the columns, or name one with --url-column",
                Some(_) => "its first line must name the columns",
            };
            lacks(asked.unwrap_or(context.target()), advice)
        })?;
        let label = context.label_column().map(|asked| {
            index_of(asked, &columns::LABEL).ok_or_else(|| {
                let advice = "add one, name another with --label-column, or use --label CLASS";
                lacks(asked.unwrap_or("label"), advice)
            })
        });
        Ok(Self {
            target,
            label: label.transpose()?,
        })
    }

    fn has(&self, index: usize) -> bool {
        index == self.target || Some(index) == self.label
    }
}
