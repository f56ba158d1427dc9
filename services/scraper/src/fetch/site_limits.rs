//! How often each site may be asked: built in, and from a file of the operator.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context as _, anyhow};
use maskline_storage::records::ShareLimit;
use serde::Deserialize;

/// The limits that are built in. Numbers without a contact are for who has not said how the
/// site's operator can reach them.
///
/// Wikimedia's media: "2 at a time" by its robot policy
/// (<https://wikitech.wikimedia.org/wiki/Robot_policy>).
const BUILT_IN: &str = r#"
["upload.wikimedia.org"]
at_a_time = 2
per_minute = 200
per_minute_without_contact = 10
"#;

/// The limits of all sites.
#[derive(Debug, Clone)]
pub(crate) struct SiteLimits {
    /// For a host that is named nowhere.
    others: ShareLimit,
    by_name: BTreeMap<String, ShareLimit>,
}

/// What a file says about a site. What it leaves out is as for other hosts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    at_a_time: Option<u16>,
    per_second: Option<f64>,
    per_minute: Option<f64>,
    per_minute_without_contact: Option<f64>,
}

impl SiteLimits {
    /// `others` is the limit of every host that is not named.
    pub(crate) fn new(others: ShareLimit, has_contact: bool) -> Self {
        let mut limits = Self {
            others,
            by_name: BTreeMap::new(),
        };
        limits
            .add(BUILT_IN, has_contact)
            .expect("the built-in limits are right");
        // Who asks all hosts more slowly asks these so, too.
        for limit in limits.by_name.values_mut() {
            limit.at_a_time = limit.at_a_time.min(others.at_a_time);
            limit.interval = limit.interval.max(others.interval);
        }
        limits
    }

    /// Adds those of a file, which go before those that are built in.
    pub(crate) fn with_file(mut self, path: &Path, has_contact: bool) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading the limits of sites from {}", path.display()))?;
        self.add(&text, has_contact)
            .map_err(|problem| anyhow!("{}: {problem}", path.display()))?;
        Ok(self)
    }

    /// The name under which a host is limited, and its limit. The hosts below a name such as
    /// `*.example.org` are limited together.
    pub(crate) fn of(&self, host: &str) -> (String, ShareLimit) {
        if let Some(limit) = self.by_name.get(host) {
            return (host.to_owned(), *limit);
        }
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            let name = format!("*.{parent}");
            if let Some(limit) = self.by_name.get(&name) {
                return (name, *limit);
            }
            rest = parent;
        }
        (host.to_owned(), self.others)
    }

    fn add(&mut self, text: &str, has_contact: bool) -> Result<(), String> {
        let entries: BTreeMap<toml::Spanned<String>, toml::Spanned<Entry>> =
            toml::from_str(text).map_err(|error| problem(text, error.span(), error.message()))?;
        for (name, entry) in entries {
            let at = Some(name.span());
            let host = name.get_ref().to_ascii_lowercase();
            let bare = host.strip_prefix("*.").unwrap_or(&host);
            let is_host = url::Host::parse(bare).is_ok() && !bare.contains(['*', '/', ':']);
            if !is_host {
                let said = format!(
                    "{host:?} is no host: write a name, such as \"images.example.org\", or \
                     \"*.example.org\" for all hosts below it together"
                );
                return Err(problem(text, at, &said));
            }
            let limit = entry.get_ref().limit(self.others, has_contact);
            let limit = limit.map_err(|said| problem(text, at, &format!("{host}: {said}")))?;
            self.by_name.insert(host, limit);
        }
        Ok(())
    }
}

impl Entry {
    fn limit(&self, others: ShareLimit, has_contact: bool) -> Result<ShareLimit, String> {
        let at_a_time = match self.at_a_time {
            Some(0) => return Err("at_a_time must be 1 or more".to_owned()),
            Some(at_a_time) => at_a_time.into(),
            None => others.at_a_time,
        };
        if self.per_second.is_some() && self.per_minute.is_some() {
            return Err("give per_second or per_minute, not both".to_owned());
        }
        let per_minute = self
            .per_minute_without_contact
            .filter(|_| !has_contact)
            .or(self.per_minute)
            .or(self.per_second.map(|rate| rate * 60.0));
        let interval = match per_minute {
            None => others.interval,
            Some(rate) if rate.is_finite() && rate >= 0.01 => {
                Duration::try_from_secs_f64(60.0 / rate).unwrap_or_default()
            }
            Some(rate) => return Err(format!("{rate} requests a minute are too few")),
        };
        Ok(ShareLimit {
            at_a_time,
            interval,
        })
    }
}

/// A problem with its line.
fn problem(text: &str, span: Option<std::ops::Range<usize>>, said: &str) -> String {
    let mut shown = String::new();
    if let Some(span) = span {
        let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
        let _ = write!(shown, "line {line}: ");
    }
    shown + said.trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: ShareLimit = ShareLimit {
        at_a_time: 4,
        interval: Duration::from_millis(100),
    };

    fn with(text: &str, has_contact: bool) -> anyhow::Result<SiteLimits> {
        let mut file = tempfile::NamedTempFile::new()?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        SiteLimits::new(OTHERS, has_contact).with_file(file.path(), has_contact)
    }

    #[test]
    fn wikimedias_media_are_asked_two_at_a_time_and_slowly_without_a_contact() {
        for (has_contact, interval) in [(true, 300), (false, 6_000)] {
            let limits = SiteLimits::new(OTHERS, has_contact);
            let (name, limit) = limits.of("upload.wikimedia.org");
            assert_eq!(name, "upload.wikimedia.org");
            let interval = Duration::from_millis(interval);
            assert_eq!((limit.at_a_time, limit.interval), (2, interval));
            assert_eq!(limits.of("example.org"), ("example.org".to_owned(), OTHERS));
        }
    }

    #[test]
    fn who_asks_all_hosts_more_slowly_asks_wikimedia_so_too() {
        let slow = ShareLimit {
            at_a_time: 1,
            interval: Duration::from_secs(10),
        };
        assert_eq!(
            SiteLimits::new(slow, true).of("upload.wikimedia.org").1,
            slow
        );
    }

    #[test]
    fn a_file_names_hosts_and_all_hosts_below_a_name() {
        let text = "
            # Our own mirror
            [\"images.example.org\"]
            at_a_time = 16
            per_second = 50

            [\"*.Example.org\"]
            per_minute = 30
            per_minute_without_contact = 6

            [\"upload.wikimedia.org\"]
            at_a_time = 1
        ";
        let limits = with(text, true).unwrap();
        let of = |host| {
            let (name, limit) = limits.of(host);
            (name, limit.at_a_time, limit.interval.as_millis())
        };
        assert_eq!(
            of("images.example.org"),
            ("images.example.org".to_owned(), 16, 20)
        );
        for host in ["a.example.org", "b.c.example.org"] {
            assert_eq!(of(host), ("*.example.org".to_owned(), 4, 2_000), "{host}");
        }
        assert_eq!(of("example.org").1, 4, "it is not below itself");
        assert_eq!(
            of("upload.wikimedia.org").1,
            1,
            "the file goes before what is built in"
        );
        let without = with(text, false).unwrap();
        assert_eq!(
            without.of("a.example.org").1.interval,
            Duration::from_secs(10)
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file_and_the_line() {
        let cases = [
            (
                "[\"a.org\"]\nat_a_time = 0",
                "line 1: a.org: at_a_time must be 1 or more",
            ),
            (
                "\n[\"a.org\"]\nper_secnod = 3",
                "line 3: unknown field `per_secnod`",
            ),
            ("[\"a.org\"]\nper_second = 1\nper_minute = 1", "not both"),
            ("[\"a.org\"]\nper_second = -1", "too few"),
            ("[\"a.org\"]\nper_second = \"fast\"", "line 2: invalid type"),
            (
                "\n\n[\"http://a.org/\"]\nat_a_time = 2",
                "line 3: \"http://a.org/\" is no host",
            ),
            ("[\"a.org\"\n", "line 1: "),
        ];
        for (text, expected) in cases {
            let error = with(text, true).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let missing = SiteLimits::new(OTHERS, true).with_file(Path::new("/no/such/file"), true);
        let missing = format!("{:#}", missing.unwrap_err());
        assert!(missing.contains("/no/such/file"), "{missing}");
    }
}
