//! The places that are found in a source, and what of a URL may be shown.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

/// Where one image is said to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    Url(Url),
    Path(PathBuf),
    /// A line of a list that names no place (counted from 1), so that it too
    /// ends in the books.
    Line {
        list: String,
        line: u64,
    },
}

impl Location {
    /// As logs, traces and people may see it, see [`shown`]. Ids are made of the
    /// whole, which is what [`Display`](fmt::Display) gives.
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

/// The most bytes of a URL: one that is longer is none that servers take.
pub const MAX_URL: usize = 16 << 10;

/// Whether a URL is one of more than [`MAX_URL`], as it is asked for and not as it
/// was written: `ä` then has six bytes.
pub fn is_too_long(url: &Url) -> bool {
    url.as_str().len() > MAX_URL
}

/// The most characters of a URL that are shown.
const MOST_SHOWN: usize = 300;

/// A parameter of a URL with one of these in its name lets in whoever has its value:
/// signed URLs (`X-Amz-Signature`, `sig`, `Key-Pair-Id` …), tokens, keys. Some are in
/// harmless names too, and hide what could have been shown.
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

/// A URL as logs, traces, error texts and records of them may show it: without user,
/// password and fragment, secret parameters as `name=REDACTED` (after OpenTelemetry's
/// conventions for `url.full`), and not endless.
pub fn shown(url: &Url) -> String {
    let mut bare = url.clone();
    bare.set_fragment(None);
    if !bare.username().is_empty() || bare.password().is_some() {
        // Fails only for URLs that can't have credentials, which have none.
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
    let text = bare.as_str();
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_secret(parameter: &str) -> bool {
    let name = parameter.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_url_lets_nobody_in() {
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
    fn an_endless_url_is_cut() {
        let url = format!("http://h/{}", "x".repeat(MOST_SHOWN));
        let shown = shown(&url.parse().unwrap());
        assert_eq!(shown.chars().count(), MOST_SHOWN + 1);
    }
}
