//! A trace as a tree in the terminal: when each span began, how long it took, which service
//! recorded it, what it did, and whether it failed.
//!
//! ```text
//!    start  duration
//!   0.0 ms    2.1 ms  scraper    send scraper.candidates
//!   2.5 ms   31.0 ms  scraper    └─ process scraper.candidates
//!   3.0 ms   20.4 ms  scraper       ├─ GET http://…/face.jpg: 200
//! ```

use std::collections::{BTreeSet, HashMap};

use maskline_foundation::{
    telemetry_names::{attribute, event},
    text,
};

use crate::span::Span;

/// The fewest spans in a row that become one line, if they have the same name and caused no
/// others.
const MIN_GROUP: usize = 4;

/// The most characters of the branches before a name. A source of a million lines is
/// expanded in a thousand steps, each below the one before.
const MAX_INDENT: usize = 48;

/// The most characters of an address, an object's key or an error.
const MAX_TEXT: usize = 100;

/// What a line's colour shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Plain,
    Rejected,
    Failed,
}

/// One line of the drawn tree.
struct TreeLine {
    /// Microseconds since the trace began.
    offset: u64,
    duration: u64,
    service: String,
    /// The branches that lead to the span from above.
    branch: String,
    text: String,
    mark: Mark,
}

/// Draws the spans of one trace, in ANSI colours if `colours` is true.
pub(crate) fn draw(spans: &[Span], colours: bool) -> String {
    let begin = spans
        .iter()
        .map(|span| span.start)
        .min()
        .unwrap_or_default();
    let end = spans.iter().map(|span| span.start + span.duration).max();
    let services: BTreeSet<&str> = spans.iter().map(|span| span.service.as_str()).collect();
    let mut text = format!(
        "{} of {}, {}\n\n",
        counted(spans.len(), "span"),
        counted(services.len(), "service"),
        time(end.unwrap_or_default() - begin)
    );
    let lines = Tree::of(spans).lines(begin);
    let width = lines
        .iter()
        .map(|line| line.service.len())
        .max()
        .unwrap_or_default();
    text += &format!("{:>10} {:>10}\n", "start", "duration");
    for line in lines {
        let (on, off) = match (colours, line.mark) {
            (false, _) | (_, Mark::Plain) => ("", ""),
            (true, Mark::Rejected) => ("\x1b[33m", "\x1b[0m"),
            (true, Mark::Failed) => ("\x1b[31m", "\x1b[0m"),
        };
        text += &format!(
            "{:>10} {:>10}  {:width$}  {}{on}{}{off}\n",
            time(line.offset),
            time(line.duration),
            text::printable(&line.service),
            line.branch,
            line.text,
        );
    }
    text
}

/// The spans of a trace by their parents.
struct Tree<'a> {
    /// Spans without a parent, or whose parent is not in the trace.
    roots: Vec<&'a Span>,
    children: HashMap<&'a str, Vec<&'a Span>>,
}

impl<'a> Tree<'a> {
    fn of(spans: &'a [Span]) -> Self {
        let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
        let (mut roots, mut children) = (vec![], HashMap::<_, Vec<_>>::new());
        for span in spans {
            match span.parent.as_deref().filter(|parent| ids.contains(parent)) {
                Some(parent) => children.entry(parent).or_default().push(span),
                None => roots.push(span),
            }
        }
        for siblings in children.values_mut() {
            siblings.sort_by_key(|span| span.start);
        }
        Self { roots, children }
    }

    fn lines(&self, begin: u64) -> Vec<TreeLine> {
        let mut lines = vec![];
        for root in &self.roots {
            // The groups that are still to be drawn, the next one at the end. Beside each are
            // the branches before its own line and those before the lines below it.
            let mut ahead = vec![(vec![*root], String::new(), String::new())];
            while let Some((spans, branch, below)) = ahead.pop() {
                let mut line = line(&spans, begin);
                line.branch = shortened_front(&branch);
                if spans[0].parent.is_some() && branch.is_empty() {
                    line.text += " (its parent span is missing)";
                }
                lines.push(line);
                let children = self.children.get(spans[0].id.as_str());
                let mut groups = self.grouped(children.map_or(&[], Vec::as_slice));
                let last = groups.pop();
                let inner = groups.into_iter().map(|group| (group, "├─ ", "│  "));
                let all = inner.chain(last.map(|group| (group, "└─ ", "   ")));
                let mut next: Vec<_> = all
                    .map(|(group, here, on)| {
                        (group, format!("{below}{here}"), format!("{below}{on}"))
                    })
                    .collect();
                next.reverse();
                ahead.extend(next);
            }
        }
        lines
    }

    /// The siblings in groups, each of which becomes one line.
    fn grouped(&self, siblings: &[&'a Span]) -> Vec<Vec<&'a Span>> {
        let is_plain = |span: &Span| {
            !self.children.contains_key(span.id.as_str()) && mark(span) == Mark::Plain
        };
        let alike = |a: &&Span, b: &&Span| {
            a.name == b.name && a.service == b.service && is_plain(a) && is_plain(b)
        };
        let runs = siblings.chunk_by(alike);
        let grouped = runs.flat_map(|run| match run.len() {
            MIN_GROUP.. => vec![run.to_vec()],
            _ => run.iter().map(|span| vec![*span]).collect(),
        });
        grouped.collect()
    }
}

/// The line for one span, or for several that are alike.
fn line(spans: &[&Span], begin: u64) -> TreeLine {
    let first = spans[0];
    let text = match spans {
        [span] => described(span),
        many => format!("{} × {}", first.name, many.len()),
    };
    let service = first.service.strip_prefix("maskline-");
    TreeLine {
        offset: first.start - begin,
        duration: spans.iter().map(|span| span.duration).sum(),
        service: service.unwrap_or(&first.service).to_owned(),
        branch: String::new(),
        text,
        mark: mark(first),
    }
}

fn mark(span: &Span) -> Mark {
    match () {
        () if span.failed || span.event(event::EXCEPTION).is_some() => Mark::Failed,
        () if span.event(event::REJECTED).is_some() => Mark::Rejected,
        () => Mark::Plain,
    }
}

/// The name of a span, what it was about, and the error or rejection that it ended with.
fn described(span: &Span) -> String {
    let mut text = text::printable(&span.name);
    if let Some(about) = span
        .text(attribute::URL_FULL)
        .or_else(|| span.text(attribute::AWS_S3_KEY))
    {
        text += &format!(" {}", shortened(about));
    }
    if let Some(status) = span.number(attribute::HTTP_RESPONSE_STATUS_CODE) {
        text += &format!(": {status}");
    }
    if let Some(attempt) = span
        .number(attribute::ATTEMPT)
        .filter(|attempt| *attempt > 1.0)
    {
        text += &format!(", attempt {attempt}");
    }
    if let Some(epoch) = span.number(attribute::EPOCH) {
        text += &format!(" {epoch}");
    }
    if let Some(loss) = span.number(attribute::VALIDATION_LOSS) {
        let accuracy = span
            .number(attribute::VALIDATION_ACCURACY)
            .unwrap_or_default();
        text += &format!(": loss {loss:.3}, accuracy {:.1} %", accuracy * 100.0);
    }
    let exception = span
        .event(event::EXCEPTION)
        .map(|event| event.text(attribute::EXCEPTION_MESSAGE));
    let described = span.status_message.as_deref().filter(|_| span.failed);
    if let Some(error) = exception.or(described) {
        text += &format!(" ✗ {}", shortened(error));
    } else if let Some(rejected) = span.event(event::REJECTED) {
        let reason = rejected.text(attribute::REJECTION_REASON);
        let detail = rejected.text(attribute::REJECTION_DETAIL);
        text += &format!(" ✗ rejected: {}", shortened(reason));
        // Some details begin with the code of the reason.
        match detail.strip_prefix(reason).unwrap_or(detail) {
            "" => {}
            more => text += &format!(" ({})", shortened(more.trim_start_matches([':', ' ']))),
        }
    }
    text
}

/// The first line of a text, at most [`MAX_TEXT`] characters of it.
fn shortened(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    text::printable(&text::shortened(first, MAX_TEXT))
}

/// The branches before a line. If they are too long, only their end is left.
fn shortened_front(branch: &str) -> String {
    let length = branch.chars().count();
    if length <= MAX_INDENT {
        return branch.to_owned();
    }
    let end: String = branch.chars().skip(length - MAX_INDENT + 1).collect();
    format!("…{end}")
}

/// A number and a noun, such as `1 span` or `2 spans`.
fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// A number of microseconds as a person reads it.
fn time(microseconds: u64) -> String {
    let milliseconds = microseconds as f64 / 1e3;
    if milliseconds < 10_000.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{:.1} s", milliseconds / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::span::Event;

    fn span(id: &str, parent: Option<&str>, name: &str, start: u64, duration: u64) -> Span {
        Span {
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            service: "maskline-scraper".to_owned(),
            name: name.to_owned(),
            kind: "internal",
            start: 1_000_000 + start,
            duration,
            failed: false,
            status_message: None,
            attributes: Default::default(),
            events: vec![],
            links: vec![],
        }
    }

    fn with(mut span: Span, attributes: &[(&str, Value)]) -> Span {
        let attributes = attributes.iter().cloned();
        span.attributes = attributes
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        span
    }

    fn happened(mut span: Span, event: &str, attributes: &[(&str, &str)]) -> Span {
        let attributes = attributes.iter();
        span.events.push(Event {
            name: event.to_owned(),
            at: span.start,
            attributes: attributes
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect(),
        });
        span
    }

    #[test]
    fn a_trace_is_a_tree_that_shows_errors_and_rejections() {
        let get = span("c", Some("b"), "GET", 3_000, 20_400);
        let get = with(
            get,
            &[
                ("url.full", json!("http://h/a.jpg")),
                ("http.response.status_code", json!(200)),
            ],
        );
        let mut again = with(
            span(
                "d",
                Some("a"),
                "process scraper.candidates",
                40_000,
                12_500_000,
            ),
            &[("maskline.attempt", json!(2))],
        );
        again = happened(
            again,
            "exception",
            &[("exception.message", "no way\nat all")],
        );
        let rejected = happened(
            span("e", Some("b"), "send storer.images", 30_000, 10),
            "rejected",
            &[
                ("maskline.rejection.reason", "empty"),
                ("maskline.rejection.detail", "empty: it has no bytes"),
            ],
        );
        let spans = [
            span("a", None, "send scraper.candidates", 0, 2_100),
            span("b", Some("a"), "process scraper.candidates", 2_500, 31_000),
            get,
            rejected,
            again,
        ];
        assert_eq!(
            draw(&spans, false),
            "\
5 spans of 1 service, 12.5 s

     start   duration
    0.0 ms     2.1 ms  scraper  send scraper.candidates
    2.5 ms    31.0 ms  scraper  ├─ process scraper.candidates
    3.0 ms    20.4 ms  scraper  │  ├─ GET http://h/a.jpg: 200
   30.0 ms     0.0 ms  scraper  │  └─ send storer.images ✗ rejected: empty (it has no bytes)
   40.0 ms     12.5 s  scraper  └─ process scraper.candidates, attempt 2 ✗ no way
"
        );
        let coloured = draw(&spans, true);
        assert!(coloured.contains("\x1b[31mprocess"), "{coloured}");
        assert!(coloured.contains("\x1b[33msend"), "{coloured}");
    }

    #[test]
    fn spans_that_are_alike_are_one_line_and_a_missing_parent_is_named() {
        let mut spans = vec![span("a", Some("gone"), "freeze", 0, 9_000)];
        for n in 0..50 {
            let id = format!("find-{n}");
            spans.push(span(&id, Some("a"), "find images", n * 100, 100));
        }
        let tree = draw(&spans, false);
        let lines: Vec<&str> = tree.lines().skip(3).map(str::trim_start).collect();
        assert_eq!(
            lines,
            [
                "0.0 ms     9.0 ms  scraper  freeze (its parent span is missing)",
                "0.0 ms     5.0 ms  scraper  └─ find images × 50",
            ]
        );
    }

    #[test]
    fn a_long_chain_of_spans_stays_on_the_screen() {
        let mut spans = vec![span("0", None, "hop", 0, 1)];
        for n in 1..2_000 {
            let (id, parent) = (n.to_string(), (n - 1).to_string());
            spans.push(span(&id, Some(&parent), "hop", n, 1));
        }
        let tree = draw(&spans, false);
        assert_eq!(tree.lines().count(), 2_003);
        assert!(tree.lines().all(|line| line.chars().count() < 120));
    }
}
