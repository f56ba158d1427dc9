//! A list of URLs: a plain text with one URL a line, or a CSV, JSON Lines or Parquet file with a
//! column of URLs and perhaps one of labels. It may be compressed, and in any encoding of the web.
//!
//! A list is read from a local file, a step at a time. A line that names no URL becomes
//! a candidate, too. It is rejected with its number and what is wrong with it, so that
//! whoever wrote the list finds it in the report and the job's counts add up.
//!
//! * `local`: the list as a local file in UTF-8, fetched where it is on the web.
//! * `format`: which format it has.
//! * `text_format`, `csv_format`, `json_format`, `parquet_format`: the rows of the formats.
//! * `lines`: the lines of a list, however they end.
//! * `record`: the records of a CSV.
//! * `joined`: what shows that a line is more than a URL.
//! * `row`: one row becomes a candidate.
//! * `position`: the position at which a step ends and the next one begins.

mod csv_format;
mod format;
mod joined;
mod json_format;
mod lines;
mod local;
pub(super) mod parquet_format;
mod position;
mod record;
mod row;
#[cfg(test)]
mod tests;
mod text_format;

use std::sync::Arc;

use super::{blocking, candidate::ExpansionStep, error::ExpandError};
use format::ListFormat;
use position::ListPosition;

pub use local::{ListOptions, LocalList};
pub(super) use row::file_in;

/// Finds the candidates of the next lines after `cursor`, or of the list's first lines
/// where that is `None`.
pub async fn step(
    list: Arc<LocalList>,
    cursor: Option<&str>,
) -> Result<ExpansionStep, ExpandError> {
    let begin = cursor
        .map(|cursor| ListPosition::parse(cursor, list.version(), &list.context().name))
        .transpose()?;
    let name = list.context().name.clone();
    blocking(&name, move || {
        let context = list.context();
        let rows = match list.format() {
            ListFormat::Text => {
                text_format::read(list.read()?, begin, context).map_err(ExpandError::retry)?
            }
            ListFormat::Csv { delimiter, header } => {
                csv_format::read(list.read()?, delimiter, header, begin, context)?
            }
            ListFormat::JsonLines => json_format::read(list.read()?, begin, context)?,
            ListFormat::Parquet => parquet_format::read(&list, begin, context)?,
        };
        let had_rows = begin.is_some_and(|begin| begin.has_rows);
        let has_rows = had_rows || !rows.candidates.is_empty();
        if !has_rows && rows.next.is_none() {
            return Err(ExpandError::Source(match &context.folder {
                None => format!(
                    "no URLs in the list {}: write one a line, or a CSV, JSON Lines or Parquet \
                     file with a column `url`",
                    context.name
                ),
                Some(_) => format!("no files in the list {}", context.name),
            }));
        }
        Ok(ExpansionStep {
            candidates: rows.candidates,
            next_cursor: rows.next.map(|next| {
                let next = ListPosition { has_rows, ..next };
                next.cursor(list.version())
            }),
        })
    })
    .await
}
