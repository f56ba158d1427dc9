//! What a person sees: lines and tables on standard output, and how far things are.

use std::{
    fmt::Display,
    io::{self, ErrorKind, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Context, Result};
use comfy_table::{
    Cell, CellAlignment, LineStyle, Table, TableStyle, presets::UTF8_HORIZONTAL_ONLY,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use thiserror::Error;

use crate::view::{JobView, RunView};

/// The reader of standard output has gone away, as in `maskline rejects JOB | head`.
///
/// This is an error of its own, because a broken connection to a server is a broken pipe,
/// too, and that must be reported.
#[derive(Debug, Error)]
#[error("nobody reads the output any more")]
struct OutputClosed;

/// Prints a text and a line's end on standard output.
pub(crate) fn print(text: impl Display) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        written => written.context("standard output can't be written to"),
    }
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print(serde_json::to_string(value)?)
}

/// Prints a remark on standard error. That nobody reads it ends no command.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Turns the error of a command into success if it is only that nobody reads its output
/// any more.
pub(crate) fn unless_closed(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is::<OutputClosed>() => Ok(()),
        other => other,
    }
}

/// A line above and below, and one under the heading.
const STYLE: TableStyle = UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());

/// A plain table with a heading.
pub fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(headings);
    table
}

/// A number, to the right.
pub fn number(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

pub fn percent(share: Option<f32>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// One job, whole.
pub fn job(view: &JobView) -> String {
    let books = &view.books;
    let mut text = format!(
        "job {} · {} · {}\n",
        view.id,
        view.source,
        view.state.name()
    );
    if let Some(error) = &view.error {
        text += &format!("error: {error}\n");
    }
    let mut table = table(&["found", "stored", "rejected", "failed", "in flight"]);
    table.add_row(
        [
            books.found,
            books.stored,
            books.rejected,
            books.failed,
            books.in_flight,
        ]
        .map(number),
    );
    text += &format!("{table}\n");
    if !books.rejected_by_reason.is_empty() {
        text += &format!("{}\n", reasons(view));
    }
    if let Some(dataset) = &view.dataset {
        text += &format!("dataset {dataset}\n");
    }
    if !view.runs.is_empty() {
        text += &format!("{}\n", runs(&view.runs));
    }
    if let Some(trace) = &view.trace_id {
        text += &format!("trace {trace}\n");
    }
    text.trim_end().to_owned()
}

/// Why images were rejected, the most frequent first.
pub fn reasons(view: &JobView) -> Table {
    let mut reasons: Vec<_> = view.books.rejected_by_reason.iter().collect();
    reasons.sort_by_key(|(code, count)| (std::cmp::Reverse(**count), *code));
    let mut table = table(&["rejected for", "images"]);
    for (code, count) in reasons {
        table.add_row([Cell::new(code), number(count)]);
    }
    table
}

pub fn runs(runs: &[RunView]) -> Table {
    let mut table = table(&[
        "run", "network", "state", "epoch", "accuracy", "loss", "device",
    ]);
    for run in runs {
        let state = match &run.error {
            Some(error) => format!("{:?}: {error}", run.state),
            None => format!("{:?}", run.state),
        };
        table.add_row([
            Cell::new(run.id),
            Cell::new(run.network),
            Cell::new(state.to_lowercase()),
            number(format!("{}/{}", run.epoch, run.epochs)),
            number(percent(run.accuracy)),
            number(
                run.loss
                    .map_or_else(|| "-".to_owned(), |loss| format!("{loss:.3}")),
            ),
            Cell::new(run.device.as_deref().unwrap_or("-")),
        ]);
    }
    table
}

/// The way of one job: a bar on a terminal, a line at every change of step elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    said: String,
}

impl Progress {
    #[expect(clippy::new_without_default, reason = "it draws")]
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            bar,
            said: String::new(),
        }
    }

    pub fn show(&mut self, view: &JobView) {
        let (done, of, what) = step(view);
        if let Some(bar) = &self.bar {
            bar.set_style(style());
            bar.set_length(of);
            bar.set_position(done);
            bar.set_message(what);
        } else if self.said != what {
            note(format!("{what} ({done} of {of})"));
            self.said = what;
        }
    }

    /// A line of text that stays, above the bar.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_bar} {pos}/{len} {msg}")
        .expect("a template of our own")
}

/// How much of what is done.
fn step(view: &JobView) -> (u64, u64, String) {
    let books = &view.books;
    let ended = books.found - books.in_flight;
    if let Some(run) = view
        .runs
        .iter()
        .find(|run| run.epoch < run.epochs && run.error.is_none())
    {
        let accuracy = percent(run.accuracy);
        return (
            run.epoch.into(),
            run.epochs.into(),
            format!("epochs of {}, best accuracy {accuracy}", run.network),
        );
    }
    (
        ended,
        books.found,
        format!("candidates ended, {}", view.state.name()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_goes_away_is_an_error_and_not_the_end() {
        let by_server = io::Error::from(ErrorKind::BrokenPipe);
        let by_server = Err(by_server).context("the catalog does not answer");
        assert!(unless_closed(by_server).is_err());
        let by_reader = Err(OutputClosed).context("the jobs can't be listed");
        assert!(unless_closed(by_reader).is_ok());
    }
}
