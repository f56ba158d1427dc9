//! The locations that are found in a source, and which part of a URL may be shown.

use std::{fmt, path::PathBuf};

use maskline_foundation::text::shortened;
use serde::{Deserialize, Serialize};
use url::Url;

/// Where an image is, according to its source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    Url(Url),
    Path(PathBuf),
    /// A line of a list that does not name a location. It is a candidate too, so that its
    /// rejection is counted. `line` counts from 1.
    Line {
        list: String,
        line: u64,
    },
}

impl Location {
    /// The location as logs, traces and people may see it: see [`shown`]. Ids are made of
    /// the whole location, which [`Display`](fmt::Display) gives.
    pub fn shown(&self) -> String {
        match self {
            Self::Url(url) => shown(url),
            Self::Path(_) | Self::Line { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Path(path) => path.display().fmt(f),
            Self::Line { list, line } => write!(f, "{list}:{line}"),
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
    shortened(without_secrets(url).as_str(), MAX_SHOWN)
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
}
