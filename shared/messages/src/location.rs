//! The locations that are found in a source, and which part of a URL may be shown.

use std::{fmt, path::PathBuf};

use maskline_foundation::{path_text, text};
use serde::{Deserialize, Serialize};
use url::Url;

/// Where an image is, according to its source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    Url(Url),
    Path(#[serde(with = "crate::path_serde")] PathBuf),
    /// A line of a list that does not name a location. It is a candidate too, so that its
    /// rejection is counted. `line` counts from 1.
    Line {
        list: String,
        line: u64,
    },
    /// A member of an archive, or a row of a Parquet file.
    Member {
        /// The archive or the file.
        archive: Box<Location>,
        /// The number of the member or row, counted from 0. Names need not be unique, so it
        /// is this that distinguishes the members.
        index: u64,
        /// The name that the member has in the archive. It may be empty.
        name: String,
    },
    /// An object in S3.
    S3 {
        /// The bucket's address, `s3://BUCKET` with the options that it was enqueued with.
        bucket: String,
        key: String,
    },
}

impl Location {
    /// The location as logs, traces and people may see it: see [`shown`]. Ids are made of
    /// the whole location, which [`Display`](fmt::Display) gives.
    pub fn shown(&self) -> String {
        match self {
            Self::Url(url) => shown(url),
            Self::Member {
                archive,
                index,
                name,
            } => text::printable(&member(&archive.shown(), *index, name)),
            Self::S3 { bucket, key } => text::printable(&object(without_options(bucket), key)),
            Self::Path(path) => path_text::shown(path),
            Self::Line { .. } => text::printable(&self.to_string()),
        }
    }

    /// The whole address as people anywhere may know it, without secrets. `None` for what is on
    /// a machine.
    pub fn public_address(&self) -> Option<String> {
        match self {
            Self::Url(url) => Some(without_secrets(url).into()),
            Self::Member {
                archive,
                index,
                name,
            } => Some(member(&archive.public_address()?, *index, name)),
            Self::S3 { bucket, key } => Some(object(without_options(bucket), key)),
            Self::Path(_) | Self::Line { .. } => None,
        }
    }
}

/// The address of a bucket without its endpoint and region, which may be somebody's own.
pub(crate) fn without_options(bucket: &str) -> &str {
    bucket.split('?').next().unwrap_or_default()
}

fn object(bucket: &str, key: &str) -> String {
    format!("{bucket}/{}", escaped(key))
}

fn member(archive: &str, index: u64, name: &str) -> String {
    match name {
        "" => format!("{archive}#{index}"),
        _ => format!("{archive}#{index}:{}", escaped(name)),
    }
}

/// The text of a name within a location, from which the name can be told: a backslash is doubled
/// and a control character is an escape. Ids are made of it, so it stays as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            c if c.is_control() => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Path(path) => f.write_str(&path_text::to_text(path)),
            Self::Line { list, line } => write!(f, "{list}:{line}"),
            Self::Member {
                archive,
                index,
                name,
            } => f.write_str(&member(&archive.to_string(), *index, name)),
            Self::S3 { bucket, key } => f.write_str(&object(bucket, key)),
        }
    }
}

/// The most bytes that a URL may have. Servers do not accept longer ones.
pub const MAX_URL: usize = 16 << 10;

/// Returns true if the URL has more than [`MAX_URL`] bytes in the form in which a server
/// gets it. In this form `ä` has six bytes.
pub fn is_too_long(url: &Url) -> bool {
    url.as_str().len() > MAX_URL
}

/// The most characters of a URL that are shown.
const MAX_SHOWN: usize = 300;

/// A URL's parameter is secret if its name contains one of these: its value, such as a
/// signature (`X-Amz-Signature`, `sig`, `Key-Pair-Id`), a token or a key, gives access to
/// whoever has it. Some of these words are in harmless names too, whose values are then
/// hidden without need.
const SECRETS: [&str; 10] = [
    "auth",
    "credential",
    "hmac",
    "key",
    "pass",
    "policy",
    "secret",
    "session",
    "sig",
    "token",
];

/// The URL as logs, traces, errors and records of them may show it: [`without_secrets`],
/// and a long URL is cut.
pub fn shown(url: &Url) -> String {
    text::shortened(without_secrets(url).as_str(), MAX_SHOWN)
}

/// The URL as others may have it. User, password and fragment are left out, and secret
/// parameters read `name=REDACTED`, as OpenTelemetry's conventions for `url.full` ask.
pub fn without_secrets(url: &Url) -> Url {
    let mut bare = url.clone();
    bare.set_fragment(None);
    if !bare.username().is_empty() || bare.password().is_some() {
        // These fail only for URLs that can't have credentials, and so have none.
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
    }
    if let Some(query) = url.query() {
        let parameters = query
            .split('&')
            .map(|parameter| match parameter.split_once('=') {
                Some((name, _)) if is_secret(name) => format!("{name}=REDACTED"),
                _ => parameter.to_owned(),
            });
        bare.set_query(Some(&parameters.collect::<Vec<_>>().join("&")));
    }
    bare
}

fn is_secret(parameter: &str) -> bool {
    let name = parameter.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_secrets() {
        let cases = [
            ("https://me:hunter2@h/a.jpg#hunter2", "https://h/a.jpg"),
            ("https://h/a.jpg?w=2&x=&y", "https://h/a.jpg?w=2&x=&y"),
            (
                "https://h/a?sig=hunter2&w=2&X-Amz-Signature=hunter2",
                "https://h/a?sig=REDACTED&w=2&X-Amz-Signature=REDACTED",
            ),
            (
                "https://h/a?Token=hunter=2&b",
                "https://h/a?Token=REDACTED&b",
            ),
        ];
        for (url, expected) in cases {
            let url: Url = url.parse().unwrap();
            assert_eq!(shown(&url), expected);
            assert_eq!(Location::Url(url).shown(), expected);
        }
    }

    #[test]
    fn a_long_url_is_cut() {
        let url = format!("http://h/{}", "x".repeat(MAX_SHOWN));
        let url = url.parse().unwrap();
        assert_eq!(shown(&url).chars().count(), MAX_SHOWN + 1);
        assert_eq!(without_secrets(&url), url, "others get the whole of it");
    }

    #[test]
    fn a_member_is_named_by_its_number_and_printable_and_hides_the_archives_secrets() {
        let archive: Url = "https://me:hunter2@h/a.zip".parse().unwrap();
        let member = |name: &str| Location::Member {
            archive: Box::new(Location::Url(archive.clone())),
            index: 7,
            name: name.to_owned(),
        };
        assert_eq!(member("a/b.jpg").shown(), "https://h/a.zip#7:a/b.jpg");
        assert_eq!(member("").shown(), "https://h/a.zip#7");
        let public = member("a/b.jpg").public_address();
        assert_eq!(public.as_deref(), Some("https://h/a.zip#7:a/b.jpg"));
        assert_eq!(
            member("a\n\\n\u{1b}").shown(),
            "https://h/a.zip#7:a\\n\\\\n\\u{1b}"
        );
        assert!(member("a").to_string().contains("hunter2"), "ids need all");
        let object = Location::S3 {
            bucket: "s3://faces?endpoint=http://h:1".to_owned(),
            key: "a\tb.jpg".to_owned(),
        };
        assert_eq!(object.shown(), "s3://faces/a\\tb.jpg");
        assert_eq!(object.public_address(), Some(object.shown()));
        assert!(object.to_string().contains("endpoint"), "ids need all");
        let local = Location::Member {
            archive: Box::new(Location::Path("/home/me/a.zip".into())),
            index: 7,
            name: "a.jpg".to_owned(),
        };
        assert_eq!(local.public_address(), None);
    }
}
