//! What a site asks of robots: its robots.txt, by RFC 9309.
//!
//! A site is asked once and its rules are remembered. Section numbers here are those of
//! the RFC.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use lru::LruCache;
use parking_lot::Mutex;
use texting_robots::Robot;
use tokio::sync::OnceCell;
use url::Url;

use super::user_agent::PRODUCT;

/// How much of a robots.txt is read. It is the least that section 2.5 allows.
pub(super) const MAX_BYTES: usize = 500 << 10;

/// How many rules of a site may have an end (`$`, section 2.2.3). Most sites have none.
const MAX_ENDS: usize = 100;

/// How many redirects to a robots.txt are followed at least (section 2.3.1.2).
pub(super) const REDIRECTS: u32 = 5;

/// How many sites are remembered.
const MAX_SITES: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// How long rules are used before they are asked for again. Section 2.4 allows a day.
const VALID_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// What a site's robots.txt says.
pub enum Rules {
    /// There is no robots.txt ("unavailable", section 2.3.1.3), or it can't be understood.
    AllowAll,
    /// The rules that it has for this crawler.
    Robot(Robot),
    /// The site did not answer, for the reason given here. Until it does, it must be
    /// assumed to forbid everything ("unreachable", section 2.3.1.4).
    Unreachable(String),
}

impl Rules {
    /// Parses as much of a robots.txt as is read at all (section 2.5).
    pub fn parse(text: &[u8]) -> Self {
        let text = with_few_ends(&text[..text.len().min(MAX_BYTES)]);
        match Robot::new(PRODUCT, &text) {
            Ok(robot) => Self::Robot(robot),
            Err(error) => {
                tracing::debug!(%error, "robots.txt can't be understood, so it forbids nothing");
                Self::AllowAll
            }
        }
    }
}

/// The text with at most [`MAX_ENDS`] rules that have a `$`, since the parser compiles a regular
/// expression for each, with memory of its own. Further rules become stricter: a `Disallow` forbids
/// what begins as it says, whatever follows, and an `Allow` is left out.
fn with_few_ends(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut ends = 0;
    for line in text.split_inclusive(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        let Some(end) = line.iter().position(|byte| *byte == b'$') else {
            kept.extend_from_slice(line);
            continue;
        };
        ends += 1;
        if ends <= MAX_ENDS {
            kept.extend_from_slice(line);
            continue;
        }
        let begin = &line[..end];
        let is_allow = begin
            .trim_ascii_start()
            .get(..5)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"allow"));
        // A pattern that is only a `$` forbids nothing that there is, but without it everything.
        let has_pattern = begin
            .trim_ascii_end()
            .last()
            .is_some_and(|last| *last != b':');
        if !is_allow && has_pattern {
            kept.extend_from_slice(begin);
        }
        kept.push(b'\n');
    }
    kept
}

/// The answer to the question whether a URL may be fetched.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Allowed,
    Disallowed,
    /// The site did not say yet, for the reason given here.
    Unknown(String),
}

/// The rules of the sites that were asked lately.
pub(super) struct Robots {
    sites: Mutex<LruCache<String, Arc<Site>>>,
}

#[derive(Default)]
struct Site {
    rules: OnceCell<(Rules, Instant)>,
}

impl Site {
    fn is_stale(&self) -> bool {
        self.rules.get().is_some_and(|(rules, since)| {
            // A site that does not answer is left alone by `hosts`. When it is asked again, it
            // is asked for its rules first.
            matches!(rules, Rules::Unreachable(_)) || since.elapsed() > VALID_FOR
        })
    }
}

impl Default for Robots {
    fn default() -> Self {
        Self {
            sites: Mutex::new(LruCache::new(MAX_SITES)),
        }
    }
}

impl Robots {
    /// Returns whether `url` may be fetched. `fetch_rules` gets the URL of the site's robots.txt
    /// and is called if its rules are not known; if several callers need them at the same
    /// time, only one of the calls is made.
    pub(super) async fn permission<F>(
        &self,
        url: &Url,
        fetch_rules: impl FnOnce(Url) -> F,
    ) -> Permission
    where
        F: Future<Output = Rules>,
    {
        // The file lies at the top of each scheme, host and port (section 2.3).
        let Ok(robots_url) = url.join("/robots.txt") else {
            return Permission::Allowed;
        };
        let site = self.site(url.origin().ascii_serialization());
        let rules = site.rules.get_or_init(|| async {
            let rules = fetch_rules(robots_url).await;
            (rules, Instant::now())
        });
        match &rules.await.0 {
            Rules::AllowAll => Permission::Allowed,
            Rules::Robot(robot) if robot.allowed(url.as_str()) => Permission::Allowed,
            Rules::Robot(_) => Permission::Disallowed,
            Rules::Unreachable(reason) => Permission::Unknown(reason.clone()),
        }
    }

    fn site(&self, origin: String) -> Arc<Site> {
        let mut sites = self.sites.lock();
        match sites.get(&origin) {
            Some(site) if !site.is_stale() => site.clone(),
            _ => {
                let site = Arc::new(Site::default());
                sites.put(origin, site.clone());
                site
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn permission(text: &str, url: &str) -> Permission {
        let url = url.parse().unwrap();
        let rules = Rules::parse(text.as_bytes());
        Robots::default()
            .permission(&url, |_| async { rules })
            .await
    }

    #[tokio::test]
    async fn rules_for_us_and_for_everybody_are_obeyed() {
        use Permission::{Allowed, Disallowed};
        let ours = "User-agent: *\nDisallow: /\n\nUser-agent: MaskLine\nDisallow: /private/\n";
        let cases = [
            ("", "http://a/x.jpg", Allowed),
            ("User-agent: *\nDisallow: /", "http://a/x.jpg", Disallowed),
            ("User-agent: *\nDisallow:", "http://a/x.jpg", Allowed),
            ("User-agent: other\nDisallow: /", "http://a/x.jpg", Allowed),
            (ours, "http://a/x.jpg", Allowed),
            (ours, "http://a/private/x.jpg", Disallowed),
            (
                "User-agent: *\nDisallow: /i/\nAllow: /i/open/",
                "http://a/i/open/x.jpg",
                Allowed,
            ),
            (
                "User-agent: *\nDisallow: /*.gif$",
                "http://a/i/x.gif",
                Disallowed,
            ),
            (
                "\u{feff}User-agent: *\r\nDisallow: /",
                "http://a/x",
                Disallowed,
            ),
            ("<html>no robots here</html>", "http://a/x.jpg", Allowed),
        ];
        for (text, url, expected) in cases {
            assert_eq!(permission(text, url).await, expected, "{text:?} {url}");
        }
    }

    #[tokio::test]
    async fn of_very_many_rules_with_an_end_the_last_are_stricter_and_none_costs_much() {
        use Permission::{Allowed, Disallowed};
        let mut text = "User-agent: *\nDisallow: /first$\n".to_owned();
        for number in 0..MAX_ENDS {
            text += &format!("Disallow: /many/{number}$\n");
        }
        text += "Disallow: /last$\nAllow: /last/but/allowed$\nDisallow: $\nDisallow: /plain/\n";
        let cases = [
            ("http://a/first", Disallowed),
            ("http://a/first/2", Allowed),
            ("http://a/last", Disallowed),
            ("http://a/last/2", Disallowed),
            ("http://a/last/but/allowed", Disallowed),
            ("http://a/plain/1", Disallowed),
            ("http://a/other", Allowed),
        ];
        for (url, expected) in cases {
            assert_eq!(permission(&text, url).await, expected, "{url}");
        }
    }

    #[tokio::test]
    async fn a_site_is_asked_once_for_each_scheme_host_and_port() {
        let (robots, asked) = (Robots::default(), AtomicUsize::new(0));
        let urls = [
            "http://a/1",
            "http://a/2",
            "https://a/1",
            "http://a:81/1",
            "http://a/3",
        ];
        for url in urls {
            let ask = |robots: Url| {
                asked.fetch_add(1, Ordering::Relaxed);
                assert_eq!(robots.path(), "/robots.txt");
                async { Rules::AllowAll }
            };
            let permission = robots.permission(&url.parse().unwrap(), ask).await;
            assert_eq!(permission, Permission::Allowed);
        }
        assert_eq!(asked.into_inner(), 3);
    }
}
