//! A list of URLs: a plain text with one URL a line, or a CSV with a column `url` and
//! perhaps a column `label`.
//!
//! A list is read from a local file, a step at a time. A line that names no URL becomes
//! a candidate, too. It is rejected with its number and what is wrong with it, so that
//! whoever wrote the list finds it in the report and the job's counts add up.
//!
//! * `local`: the list as a local file, fetched where it is on the web.
//! * `text_format`, `csv_format`: the lines of the two formats.
//! * `line`: one line becomes a candidate.
//! * `position`: the position at which a step ends and the next one begins.

mod csv_format;
mod line;
mod local;
mod position;
#[cfg(test)]
mod tests;
mod text_format;

use std::{fs::File, sync::Arc};

use anyhow::Context as _;
use maskline_messages::{Labeling, Location};

use super::{candidate::ExpansionStep, error::ExpandError};
use line::ListContext;
use position::ListPosition;

pub use local::LocalList;

/// Finds the candidates of the next lines after `cursor`, or of the list's first lines
/// where that is `None`. `name` is what the list is called in messages.
pub async fn step(
    list: Arc<LocalList>,
    name: &Location,
    labeling: Option<&Labeling>,
    cursor: Option<&str>,
) -> Result<ExpansionStep, ExpandError> {
    let context = ListContext {
        name: name.shown(),
        labeling: labeling.cloned(),
    };
    let begin = cursor
        .map(|cursor| ListPosition::parse(cursor, list.version(), &context.name))
        .transpose()?;
    tokio::task::spawn_blocking(move || {
        let name = &context.name;
        let file = File::open(list.path())
            .with_context(|| format!("reading {name}"))
            .map_err(ExpandError::retry)?;
        let lines = if list.is_csv() {
            csv_format::read(file, begin, &context)?
        } else {
            text_format::read(file, begin, &context).map_err(ExpandError::retry)?
        };
        if lines.candidates.is_empty() && lines.next.is_none() && begin.is_none() {
            return Err(ExpandError::Source(format!(
                "no URLs in the list {name}: write one a line, or a CSV with a column `url`"
            )));
        }
        Ok(ExpansionStep {
            candidates: lines.candidates,
            next_cursor: lines.next.map(|next| next.cursor(list.version())),
        })
    })
    .await
    .context("reading a list")
    .map_err(ExpandError::retry)?
}
