//! Printing: lines and tables on standard output, and remarks on standard error.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use anyhow::{Context, Result, bail};
use comfy_table::{
    Cell, CellAlignment, LineStyle, Table, TableStyle, presets::UTF8_HORIZONTAL_ONLY,
};
use maskline_foundation::text::{printable_json, printable_lines};
use serde::Serialize;
use thiserror::Error;

/// The reader of standard output has gone away, as in `maskline rejects JOB | head`.
///
/// This is an error of its own, because a broken connection to a server is a broken pipe,
/// too, and that must be reported.
#[derive(Debug, Error)]
#[error("nobody reads the output any more")]
struct OutputClosed;

/// Prints a text and a line's end on standard output. What a terminal would obey is escaped.
pub(crate) fn print(text: impl Display) -> Result<()> {
    write(printable_lines(&text.to_string()))
}

/// Prints a text with colours of our own. What others wrote in it is escaped already.
pub(crate) fn print_coloured(text: impl Display) -> Result<()> {
    write(text)
}

fn write(text: impl Display) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        written => written.context("standard output can't be written to"),
    }
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    write(printable_json(&serde_json::to_string(value)?))
}

/// Prints a value as JSON in lines that are indented.
pub(crate) fn print_json_in_lines(value: &impl Serialize) -> Result<()> {
    write(printable_json(&serde_json::to_string_pretty(value)?))
}

/// Prints a remark on standard error. It is no error if nobody reads it.
pub(crate) fn note(text: impl Display) {
    let text = printable_lines(&text.to_string());
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A record with the location of the object that it describes.
#[derive(Serialize)]
struct Located<'a, T> {
    #[serde(flatten)]
    record: &'a T,
    r#where: String,
}

/// Prints a record as one line of JSON. The field `where` is the location of the object
/// that the record describes.
pub(crate) fn print_located(record: &impl Serialize, location: String) -> Result<()> {
    print_json(&Located {
        record,
        r#where: location,
    })
}

/// The error of a command that has printed it in its answer already, unless the answer is JSON: it
/// only says where to look.
pub(crate) fn told_above(ended: Result<()>, json: bool) -> Result<()> {
    match ended {
        Err(_) if !json => bail!("not all of it succeeded: the answer above says why"),
        ended => ended,
    }
}

/// Turns the error of a command into success if it is only that nobody reads its output
/// any more.
pub(crate) fn unless_closed(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is::<OutputClosed>() => Ok(()),
        other => other,
    }
}

/// The tables have a line above and below, and one under the headings.
const STYLE: TableStyle = UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());

/// An empty table with these headings.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(headings);
    table
}

/// A cell with a number, which stands at the right.
pub(crate) fn number(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// A share of 1 as a percentage, or a dash if there is none.
pub(crate) fn percent(share: Option<f32>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_an_error_and_a_closed_output_is_not() {
        let by_server = io::Error::from(ErrorKind::BrokenPipe);
        let by_server = Err(by_server).context("the catalog does not answer");
        assert!(unless_closed(by_server).is_err());
        let by_reader = Err(OutputClosed).context("the jobs can't be listed");
        assert!(unless_closed(by_reader).is_ok());
    }
}
