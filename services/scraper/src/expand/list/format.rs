//! Which format a list has.

use std::{fmt, slice};

use maskline_messages::{Label, Labeling};

use super::{joined, lines, row::ListContext};
use crate::expand::{columns, error::ExpandError, parquet_file, source_file::SourceFile};

/// The formats of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListFormat {
    /// A URL in each line.
    Text,
    /// A table whose first line names the columns.
    Csv {
        delimiter: u8,
        /// The number of that line, before which there may be blank lines and comments.
        header: u64,
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

    /// The classes that the images may get without a column of labels.
    pub(super) fn classes(&self) -> &[Label] {
        match &self.labeling {
            Some(Labeling::Declared { label }) => slice::from_ref(label),
            Some(Labeling::Folder { classes }) => classes,
            Some(Labeling::Column { .. }) | None => &[],
        }
    }
}

/// The format as the log names it.
impl fmt::Display for ListFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Csv { delimiter, .. } => {
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
        let header = Header::find(text, context);
        let named = header
            .separator
            .or_else(|| delimiter_of(header.text, context));
        if let Some(delimiter) = named {
            if !header.text.contains(char::from(delimiter)) && context.folder.is_none() {
                check_lines(text, context)?;
            }
            let header = header.number;
            return Ok(Self::Csv { delimiter, header });
        }
        let says_csv = file.ends_with(&[".csv", ".tsv", ".tab"])
            || file.content_type().is_some_and(is_csv_type);
        if says_csv {
            // Its first line names no column of URLs, which reading it will say.
            let likely = DELIMITERS.into_iter().max_by_key(|delimiter| {
                let count = header.text.bytes().filter(|byte| byte == delimiter).count();
                (count, *delimiter == b',')
            });
            let (delimiter, header) = (likely.unwrap_or(b','), header.number);
            return Ok(Self::Csv { delimiter, header });
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
    check_lines(text, context)?;
    Ok(ListFormat::Text)
}

/// Refuses a list whose lines should each be one URL, and are more.
fn check_lines(text: &str, context: &ListContext) -> Result<(), ExpandError> {
    match joined::line_with_label(text, context.classes()) {
        None => Ok(()),
        Some(number) => Err(ExpandError::Source(format!(
            "{}:{number}: the URL seems to be followed by a label. If it is, begin the list with a \
             line that names its columns, separated as they are, such as `url;label`. If it is a part \
             of the URL, begin the list with the line `url` and put each URL in quotes (`\"`)",
            context.name
        ))),
    }
}

/// The line of a list that names its columns, if one does: the first that is neither blank nor a
/// comment.
struct Header<'a> {
    text: &'a str,
    /// The number of the line.
    number: u64,
    /// What separates the columns, where a line before says so.
    separator: Option<u8>,
}

impl<'a> Header<'a> {
    fn find(text: &'a str, context: &ListContext) -> Self {
        let mut separator = None;
        for (line, number) in lines::of_text(text).zip(1..) {
            let text = line.trim();
            // A column may be called `#`.
            let is_comment = text.starts_with("# ")
                || text.starts_with('#') && delimiter_of(text, context).is_none();
            if text.is_empty() || is_comment {
                continue;
            }
            match separator_told(line) {
                None => {
                    return Self {
                        text,
                        number,
                        separator,
                    };
                }
                told => separator = told,
            }
        }
        Self {
            text: "",
            number: 1,
            separator,
        }
    }
}

/// What a line tells Excel to separate the columns by: `sep=;`. Other programs put it in quotes, or
/// the same separator behind it as often as there are columns.
fn separator_told(line: &str) -> Option<u8> {
    let line = line.trim_matches('"');
    let (name, told) = line.split_at_checked("sep=".len())?;
    let separator = *told.as_bytes().first()?;
    let is_only = told
        .trim_end_matches([' ', '"', char::from(separator)])
        .is_empty();
    let is_separator = separator.is_ascii_punctuation() && separator != b'"' || separator == b'\t';
    let is_told = name.eq_ignore_ascii_case("sep=") && is_only && is_separator;
    is_told.then_some(separator)
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
    fn the_columns_are_named_behind_blank_lines_comments_and_what_excel_is_told() {
        let cases = [
            ("\r\n \rurl;label", 3, "url;label", None),
            (
                "# faces, each with a url\nsep=;\n\nurl;label",
                4,
                "url;label",
                Some(b';'),
            ),
            ("\"SEP=\t\"\nurl\tlabel", 2, "url\tlabel", Some(b'\t')),
            ("sep=^^^\nurl^label", 2, "url^label", Some(b'^')),
            ("#,url\n1,http://a/", 1, "#,url", None),
            ("sep=x\nurl", 1, "sep=x", None),
            ("\n# nothing\n", 1, "", None),
        ];
        for (text, number, line, separator) in cases {
            let found = Header::find(text, &context());
            assert_eq!(found.number, number, "{text}");
            assert_eq!(found.text, line, "{text}");
            assert_eq!(found.separator, separator, "{text}");
        }
    }
}
