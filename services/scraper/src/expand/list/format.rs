//! Which format a list has.

use std::{fmt, path::Path};

use maskline_messages::{Label, Labeling};
use url::Url;

use super::row::ListContext;
use crate::expand::{columns, error::ExpandError, parquet_file, source_file::SourceFile};

/// The formats of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListFormat {
    /// A URL in each line.
    Text,
    /// A table whose first line names the columns.
    Csv {
        delimiter: u8,
    },
    /// A JSON object in each line.
    JsonLines,
    Parquet,
}

/// What may separate the columns of a table. The first that makes sense of its first line is
/// taken.
const DELIMITERS: [u8; 4] = *b",\t;|";

impl ListContext {
    /// The usual names of the column that is looked for.
    pub(super) fn usual_columns(&self) -> &'static [&'static str] {
        match self.folder {
            None => &columns::URL,
            Some(_) => &columns::FILE,
        }
    }

    /// What that column has, for errors.
    pub(super) fn target(&self) -> &'static str {
        match self.folder {
            None => "url",
            Some(_) => "file_name",
        }
    }

    /// The name that the label column was asked for by, if labels come from a column.
    pub(super) fn label_column(&self) -> Option<Option<&str>> {
        match &self.labeling {
            Some(Labeling::Column { name, .. }) => Some(name.as_deref()),
            _ => None,
        }
    }
}

/// The format as the log names it.
impl fmt::Display for ListFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Csv { delimiter } => {
                write!(f, "columns separated by {:?}", char::from(*delimiter))
            }
            Self::JsonLines => f.write_str("JSON Lines"),
            Self::Parquet => f.write_str("Parquet"),
        }
    }
}

impl ListFormat {
    /// The format of a list that begins with `sample`.
    pub(super) fn of(
        sample: &str,
        file: &SourceFile,
        context: &ListContext,
    ) -> Result<Self, ExpandError> {
        let name = &context.name;
        if sample.as_bytes().starts_with(parquet_file::MAGIC) {
            return Ok(Self::Parquet);
        }
        let text = sample.trim_start_matches('\u{feff}');
        let begin = text.trim_start().chars().next();
        if file.ends_with(&[".parquet"]) {
            return Err(ExpandError::Source(format!(
                "the list {name} is no Parquet file, though its name says so: it does not begin \
                 with PAR1"
            )));
        }
        if begin == Some('<') && context.folder.is_none() {
            return Err(ExpandError::Source(format!(
                "the list {name} begins with `<`, as web pages and sitemaps do: enqueue its address \
                 with `maskline enqueue page`"
            )));
        }
        if file.ends_with(&[".jsonl", ".ndjson", ".json"]) || begin == Some('{') {
            return match begin {
                Some('[') => Err(ExpandError::Source(format!(
                    "the list {name} is one JSON array: write JSON Lines, an object in each line \
                     (`jq -c '.[]' FILE`)"
                ))),
                _ => Ok(Self::JsonLines),
            };
        }
        let first = text.split(['\n', '\r']).next().unwrap_or_default();
        if let Some(delimiter) = delimiter_of(first, context) {
            return Ok(Self::Csv { delimiter });
        }
        let says_csv = file.ends_with(&[".csv", ".tsv", ".tab"])
            || file.content_type().is_some_and(is_csv_type);
        if says_csv {
            // Its first line names no column of URLs, which reading it will say.
            let likely = DELIMITERS.into_iter().max_by_key(|delimiter| {
                let count = first.bytes().filter(|byte| byte == delimiter).count();
                (count, *delimiter == b',')
            });
            let delimiter = likely.unwrap_or(b',');
            return Ok(Self::Csv { delimiter });
        }
        if text.contains('\0') {
            return Err(ExpandError::Source(format!(
                "the list {name} is no text: write a URL in each line, or enqueue a CSV, JSON \
                 Lines or Parquet file with a column `url`"
            )));
        }
        plain(text, context)
    }
}

/// A plain list, unless something shows that it was meant as a table.
fn plain(text: &str, context: &ListContext) -> Result<ListFormat, ExpandError> {
    let name = &context.name;
    let refused = |why: &str| {
        Err(ExpandError::Source(format!(
            "the list {name} has no columns, {why}: begin it with a line that names its columns, \
             such as `url,label`"
        )))
    };
    if context.folder.is_some() {
        return refused("and so none of files");
    }
    if let Some(column) = &context.column {
        return refused(&format!("and so no column `{column}`"));
    }
    if context.label_column().is_some() {
        return refused("and so none of labels");
    }
    let lines = text.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    // The line before may name columns by words that are not known here.
    let first = lines.find(|line| line.contains("://"));
    if first.is_some_and(is_url_with_label) {
        return refused("but its first URL seems to be followed by a label");
    }
    Ok(ListFormat::Text)
}

fn is_csv_type(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    ["text/csv", "text/tab-separated-values"]
        .iter()
        .any(|csv| media.eq_ignore_ascii_case(csv))
}

/// What separates the columns, if this is a line that names them. A line with an address in it
/// names none, even if the address holds `,url,`.
fn delimiter_of(line: &str, context: &ListContext) -> Option<u8> {
    if line.contains("://") {
        return None;
    }
    DELIMITERS.into_iter().find(|delimiter| {
        let names = line.split(char::from(*delimiter));
        columns::find(names, context.column.as_deref(), context.usual_columns()).is_some()
    })
}

/// Returns whether a line is an address of an image, a separator and a plain word:
/// `http://a/1.jpg;with_mask`. Such an address can exist, but hardly in a list's first line.
fn is_url_with_label(line: &str) -> bool {
    let Some((url, label)) = line.rsplit_once([',', ';', '|', ' ']) else {
        return false;
    };
    let Ok(url) = url.trim().parse::<Url>() else {
        return false;
    };
    let is_word = label.trim().parse::<Label>().is_ok() && !label.contains('.');
    let ending = Path::new(url.path()).extension();
    let is_image = ending.is_some_and(|ending| (3..=4).contains(&ending.len()));
    is_word && is_image
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> ListContext {
        ListContext {
            name: "list".to_owned(),
            labeling: None,
            column: None,
            folder: None,
        }
    }

    #[test]
    fn the_first_line_says_what_separates_the_columns() {
        let cases = [
            ("url,label", Some(b',')),
            ("\"image_url\"\tTEXT", Some(b'\t')),
            ("id;URL;class", Some(b';')),
            ("url", Some(b',')),
            ("http://a/x,url,1.jpg", None),
            ("address,label", None),
        ];
        for (line, expected) in cases {
            assert_eq!(delimiter_of(line, &context()), expected, "{line}");
        }
    }

    #[test]
    fn an_address_with_a_label_is_told_from_an_address_with_a_comma() {
        for line in [
            "http://a/1.jpg;with_mask",
            "http://a/1.jpg, 1",
            "http://a/1.webp|b",
            "http://a/1.jpg  with_mask",
        ] {
            assert!(is_url_with_label(line), "{line}");
        }
        for line in [
            "http://a/1,url,2.jpg",
            "http://a/2.jpg",
            "http://a/crop;300,200",
            "http://a/1.jpg,x.jpg",
            "http://a/my photo.jpg",
        ] {
            assert!(!is_url_with_label(line), "{line}");
        }
    }
}
