//! One row of a list, and the candidate that it names.

use std::path::{Component, Path, PathBuf};

use maskline_foundation::text::shortened;
use maskline_messages::{Labeling, Location, MAX_URL, Provenance, Reason, is_too_long};
use url::Url;

use super::position::ListPosition;
use crate::expand::{candidate::SourceCandidate, label::label_of_text};

/// How many bytes of a line of text are read. A URL may be written at more length than
/// it has ([`MAX_URL`]): with white space around it, or with its scheme's usual port.
pub(super) const MAX_LINE: usize = 2 * MAX_URL;

/// The context that all rows of a list share.
pub(super) struct ListContext {
    /// The list's name in error texts.
    pub(super) name: String,
    pub(super) labeling: Option<Labeling>,
    /// The name of the column of URLs or files, if it is not one of the usual names.
    pub(super) column: Option<String>,
    /// The folder in which the rows name files. `None` means that they name URLs.
    pub(super) folder: Option<PathBuf>,
}

/// The rows that were read in one step.
#[derive(Default)]
pub(super) struct RowsRead {
    pub(super) candidates: Vec<SourceCandidate>,
    /// The position of the next row. At the end of the list it is `None`.
    pub(super) next: Option<ListPosition>,
}

/// One line of a list, or one row of a table.
pub(super) struct ListRow<'a> {
    /// The row's number, counted from 1.
    pub(super) number: u64,
    /// The text that names a URL or a file.
    pub(super) target: &'a str,
    /// The text in the label column, where that is read.
    pub(super) label: Option<&'a str>,
    pub(super) provenance: Provenance,
}

impl ListRow<'_> {
    /// The candidate that the row names, or the rejected one that says what is wrong.
    pub(super) fn candidate(self, context: &ListContext) -> SourceCandidate {
        let labeling = context.labeling.as_ref();
        let found = match &context.folder {
            None => parse_url(self.target)
                .map(|url| SourceCandidate::at_url(url, labeling))
                .map_err(|problem| (without_secrets(self.target), problem)),
            Some(folder) => file_in(folder, self.target)
                .map(|path| SourceCandidate::at_path(path, folder, labeling))
                .map_err(|problem| (self.target.to_owned(), problem)),
        };
        let mut candidate = match found {
            Ok(candidate) => candidate,
            Err((text, problem)) => return self.bad(context, &text, problem),
        };
        if let Some(text) = self.label {
            match label_of_text(text, labeling) {
                Ok(Some(label)) => candidate.label = Some(label),
                Ok(None) => {}
                Err(problem) => candidate.rejected = Some(self.reason(text, problem)),
            }
        }
        candidate.provenance = self.provenance;
        candidate
    }

    /// The rejected candidate for a row that names nothing. `text` is what the row has instead.
    pub(super) fn bad(
        &self,
        context: &ListContext,
        text: &str,
        problem: String,
    ) -> SourceCandidate {
        let location = Location::Line {
            list: context.name.clone(),
            line: self.number,
        };
        SourceCandidate::rejected(location, self.reason(text, problem))
    }

    fn reason(&self, text: &str, problem: String) -> Reason {
        Reason::BadSourceLine {
            line: self.number,
            text: shortened(text, 200),
            problem,
        }
    }
}

/// The rejected candidate for a row that can't be read at all.
pub(super) fn unreadable(
    number: u64,
    text: &str,
    problem: String,
    context: &ListContext,
) -> SourceCandidate {
    let row = ListRow {
        number,
        target: "",
        label: None,
        provenance: Provenance::default(),
    };
    row.bad(context, text, problem)
}

fn parse_url(text: &str) -> Result<Url, String> {
    let too_long = || Err("longer than a URL may be".to_owned());
    if text.len() >= MAX_LINE {
        return too_long();
    }
    match text.parse::<Url>() {
        Ok(url) if is_too_long(&url) => too_long(),
        Ok(url) if !url.has_host() => Err("not a URL with a host".to_owned()),
        // The URL Standard would take some of these out, and ask for `1.jpgwith_mask`.
        Ok(_) if text.contains(is_separator) => Err(
            "a tab, a line break or another control character within the URL: if it separates \
             columns, name the columns in the first line of the list"
                .to_owned(),
        ),
        Ok(_) if text.contains(char::REPLACEMENT_CHARACTER) => {
            Err("not UTF-8: save the list as UTF-8".to_owned())
        }
        Ok(url) => Ok(url),
        Err(error) => Err(format!("not a URL ({error})")),
    }
}

/// Returns whether a character separates lines or columns, and is part of no URL.
fn is_separator(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The file that has this name in the folder. Lists come from elsewhere, and must not make the
/// scraper read what lies outside of the folder.
pub(in crate::expand) fn file_in(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let below = Path::new(name);
    let mut parts = below.components();
    let leads_out = !parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if name.is_empty() {
        return Err("no name of a file".to_owned());
    }
    if leads_out || name.contains('\0') {
        return Err("the name leads out of the folder".to_owned());
    }
    let path = folder.join(below);
    // A link can lead out, too. What is not there is for the fetcher to say.
    if let (Ok(target), Ok(root)) = (path.canonicalize(), folder.canonicalize())
        && !target.starts_with(&root)
    {
        return Err("a link that leads out of the folder".to_owned());
    }
    Ok(path)
}

/// A text that is not a URL, as reports may show it. If it were a URL, it could hold a
/// user, a password, a query and a fragment: those are left out. Where it is unclear what
/// they would be, more is left out rather than less.
pub(super) fn without_secrets(text: &str) -> String {
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
