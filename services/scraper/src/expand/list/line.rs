//! One line of a list, and the candidate that it names.

use maskline_foundation::text::shortened;
use maskline_messages::{Label, Labeling, Location, MAX_URL, Reason, is_too_long};
use url::Url;

use super::position::ListPosition;
use crate::expand::candidate::SourceCandidate;

/// How many bytes of a line of text are read. A URL may be written at more length than
/// it has ([`MAX_URL`]): with white space around it, or with its scheme's usual port.
pub(super) const MAX_LINE: u64 = 2 * MAX_URL as u64;

/// The context that all lines of a list share.
pub(super) struct ListContext {
    /// The list's name in error texts.
    pub(super) name: String,
    pub(super) labeling: Option<Labeling>,
}

/// The lines that were read in one step.
pub(super) struct LinesRead {
    pub(super) candidates: Vec<SourceCandidate>,
    /// The position of the next line. At the end of the list it is `None`.
    pub(super) next: Option<ListPosition>,
}

/// One line of a list, or one record of a CSV.
pub(super) struct ListLine<'a> {
    /// The line's number, counted from 1.
    pub(super) number: u64,
    pub(super) url: &'a str,
    /// The text in the label column, where that is read.
    pub(super) label: Option<&'a str>,
}

impl ListLine<'_> {
    /// The candidate that the line names, or the rejected one that says what is wrong.
    pub(super) fn candidate(&self, context: &ListContext) -> SourceCandidate {
        let url = match parse_url(self.url) {
            Ok(url) => url,
            Err(problem) => {
                let location = Location::Line {
                    list: context.name.clone(),
                    line: self.number,
                };
                let reason = self.bad_line(&without_secrets(self.url), problem);
                return SourceCandidate::rejected(location, reason);
            }
        };
        let mut candidate = SourceCandidate::at_url(url, context.labeling.as_ref());
        if let Some(text) = self.label.filter(|text| !text.is_empty()) {
            match text.parse::<Label>() {
                Ok(label) => candidate.label = Some(label),
                Err(error) => candidate.rejected = Some(self.bad_line(text, error.to_string())),
            }
        }
        candidate
    }

    fn bad_line(&self, text: &str, problem: String) -> Reason {
        Reason::BadSourceLine {
            line: self.number,
            text: shortened(text, 200),
            problem,
        }
    }
}

fn parse_url(text: &str) -> Result<Url, String> {
    let too_long = || Err("longer than a URL may be".to_owned());
    if text.len() as u64 >= MAX_LINE {
        return too_long();
    }
    match text.parse::<Url>() {
        Ok(url) if is_too_long(&url) => too_long(),
        Ok(url) if url.has_host() => Ok(url),
        Ok(_) => Err("not a URL with a host".to_owned()),
        Err(error) => Err(format!("not a URL ({error})")),
    }
}

/// A text that is not a URL, as reports may show it. If it were a URL, it could hold a
/// user, a password, a query and a fragment: those are left out. Where it is unclear what
/// they would be, more is left out rather than less.
fn without_secrets(text: &str) -> String {
    let (before, behind) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    // An `@` behind the `?` or `#` means that these may belong to a password, which then
    // began before them.
    if behind.contains('@') {
        return "…".to_owned();
    }
    let Some((_, host)) = before.rsplit_once('@') else {
        return before.to_owned();
    };
    let mut schemes = ["http://", "https://"].into_iter();
    let scheme = schemes.find(|scheme| before.starts_with(*scheme));
    format!("{}{host}", scheme.unwrap_or_default())
}
