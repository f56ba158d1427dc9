//! The keys with which providers are asked: where they are read from.
//!
//! They come from the scraper's environment, or from files that it names. No message, log,
//! trace or error contains one.

use std::{env, ffi::OsString, fs};

use anyhow::{Context as _, bail};
use maskline_messages::SearchProvider;
use secrecy::{ExposeSecret, SecretString};

const OPENVERSE: [&str; 2] = [
    "MASKLINE_OPENVERSE_CLIENT_ID",
    "MASKLINE_OPENVERSE_CLIENT_SECRET",
];
const FLICKR: [&str; 1] = ["MASKLINE_FLICKR_KEY"];
const SERPAPI: [&str; 1] = ["MASKLINE_SERPAPI_KEY"];
const BRAVE: [&str; 1] = ["MASKLINE_BRAVE_KEY"];

/// The variables that have the key of a provider. Commons takes none.
pub(super) fn variables(provider: SearchProvider) -> &'static [&'static str] {
    match provider {
        SearchProvider::Openverse => &OPENVERSE,
        SearchProvider::Commons => &[],
        SearchProvider::Flickr => &FLICKR,
        SearchProvider::SerpapiGoogle | SearchProvider::SerpapiBing => &SERPAPI,
        SearchProvider::Brave => &BRAVE,
    }
}

/// The keys that the scraper has. Their `Debug` form is hidden.
#[derive(Debug, Clone, Default)]
pub(crate) struct ApiKeys {
    /// The client's id and its secret.
    pub(super) openverse: Option<(SecretString, SecretString)>,
    pub(super) flickr: Option<SecretString>,
    pub(super) serpapi: Option<SecretString>,
    pub(super) brave: Option<SecretString>,
}

impl ApiKeys {
    /// Reads all keys from the environment and from the files that it names.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        Self::read(|variable| env::var_os(variable))
    }

    /// `environment` looks variables up.
    pub(super) fn read(environment: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<Self> {
        let key = |variable: &str| key(variable, &environment);
        let [id, secret] = OPENVERSE;
        let openverse = match (key(id)?, key(secret)?) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            (Some(_), None) => bail!("{id} is set and {secret} is not: set both, or neither"),
            (None, Some(_)) => bail!("{secret} is set and {id} is not: set both, or neither"),
        };
        Ok(Self {
            openverse,
            flickr: key(FLICKR[0])?,
            serpapi: key(SERPAPI[0])?,
            brave: key(BRAVE[0])?,
        })
    }
}

/// The key in a variable, or else in the file that the variable with `_FILE` at its end names.
fn key(
    variable: &str,
    environment: &impl Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Option<SecretString>> {
    let is_given = |value: &OsString| !value.is_empty();
    let by_file = format!("{variable}_FILE");
    let text = if let Some(value) = environment(variable).filter(is_given) {
        // No error repeats the value.
        let value = value.into_string().ok();
        value.with_context(|| format!("{variable} is not UTF-8"))?
    } else if let Some(file) = environment(&by_file).filter(is_given) {
        let shown = file.display();
        fs::read_to_string(&file)
            .with_context(|| format!("{by_file} names {shown}, which can't be read"))?
    } else {
        return Ok(None);
    };
    let text = text.trim();
    if text.is_empty() || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
        bail!("the key of {variable} is empty or has characters that no key has");
    }
    Ok(Some(text.into()))
}

/// The text without any of the secrets.
pub(super) fn redacted(text: &str, secrets: &[SecretString]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| {
        text.replace(secret.expose_secret(), "REDACTED")
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Write as _};

    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<ApiKeys> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        ApiKeys::read(|name| variables.get(name).map(OsString::from))
    }

    fn shown(key: Option<SecretString>) -> Option<String> {
        key.map(|key| key.expose_secret().to_owned())
    }

    #[test]
    fn a_key_is_read_from_the_variable_or_from_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "from-file").unwrap();
        let path = file.path().to_str().unwrap();
        let keys = read(&[
            ("MASKLINE_FLICKR_KEY", "from-variable"),
            ("MASKLINE_FLICKR_KEY_FILE", path),
            ("MASKLINE_BRAVE_KEY_FILE", path),
            ("MASKLINE_SERPAPI_KEY", ""),
        ])
        .unwrap();
        assert_eq!(shown(keys.flickr).as_deref(), Some("from-variable"));
        assert_eq!(shown(keys.brave).as_deref(), Some("from-file"));
        assert_eq!(shown(keys.serpapi), None);
        assert!(keys.openverse.is_none());
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said_without_the_key() {
        let cases: [(&[(&str, &str)], &str); 4] = [
            (
                &[("MASKLINE_BRAVE_KEY_FILE", "/no/such/file")],
                "MASKLINE_BRAVE_KEY_FILE names /no/such/file",
            ),
            (
                &[("MASKLINE_FLICKR_KEY", "hunter2 hunter2")],
                "MASKLINE_FLICKR_KEY",
            ),
            (
                &[("MASKLINE_OPENVERSE_CLIENT_ID", "hunter2")],
                "MASKLINE_OPENVERSE_CLIENT_SECRET is not",
            ),
            (
                &[("MASKLINE_OPENVERSE_CLIENT_SECRET", "hunter2")],
                "MASKLINE_OPENVERSE_CLIENT_ID is not",
            ),
        ];
        for (variables, expected) in cases {
            let error = format!("{:#}", read(variables).unwrap_err());
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_output_and_redacted_texts_show_no_key() {
        let keys = read(&[("MASKLINE_BRAVE_KEY", "hunter2")]).unwrap();
        assert!(!format!("{keys:?}").contains("hunter2"));
        let said = redacted("bad key hunter2, hunter2!", &[keys.brave.unwrap()]);
        assert_eq!(said, "bad key REDACTED, REDACTED!");
    }
}
