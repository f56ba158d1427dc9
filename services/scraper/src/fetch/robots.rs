//! What a site asks of robots (RFC 9309), asked once a site and remembered.

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

/// The name that a site's robots.txt may address us by.
pub const PRODUCT: &str = "maskline";

/// RFC 9309, section 2.5: read at least this much of a robots.txt.
pub const MOST_BYTES: usize = 500 << 10;

/// Sites remembered.
const MOST_SITES: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// RFC 9309, section 2.4: not to be used for more than a day.
const GOOD_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A site that does not answer is left alone for so long, so that its URLs fail
/// together and not one connection time-out after the other.
const UNREACHABLE_FOR: Duration = Duration::from_secs(10);

/// What a site's robots.txt says.
pub enum Rules {
    /// There is none, or none that can be understood.
    AllowAll,
    Robot(Robot),
    /// The site did not answer, and why: RFC 9309, section 2.3.1.4, forbids
    /// everything until it does.
    Unreachable(String),
}

impl Rules {
    /// Parses the first [`MOST_BYTES`] of a robots.txt.
    pub fn parse(text: &[u8]) -> Self {
        match Robot::new(PRODUCT, &text[..text.len().min(MOST_BYTES)]) {
            Ok(robot) => Self::Robot(robot),
            Err(error) => {
                tracing::debug!(%error, "robots.txt can't be understood, so it forbids nothing");
                Self::AllowAll
            }
        }
    }
}

/// An answer: may this URL be fetched?
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Disallowed,
    /// Not known yet, and why.
    Unreachable(String),
}

/// The rules of the sites that were asked lately.
pub struct Robots {
    sites: Mutex<LruCache<String, Arc<Site>>>,
}

#[derive(Default)]
struct Site {
    rules: OnceCell<(Rules, Instant)>,
}

impl Site {
    fn is_stale(&self) -> bool {
        self.rules.get().is_some_and(|(rules, since)| {
            let good_for = match rules {
                Rules::Unreachable(_) => UNREACHABLE_FOR,
                _ => GOOD_FOR,
            };
            since.elapsed() > good_for
        })
    }
}

impl Default for Robots {
    fn default() -> Self {
        Self {
            sites: Mutex::new(LruCache::new(MOST_SITES)),
        }
    }
}

impl Robots {
    /// Whether `url` may be fetched. `ask` fetches the site's rules if they are
    /// not known; for all who want them at the same time it is called once.
    pub async fn verdict<F>(&self, url: &Url, ask: impl FnOnce(Url) -> F) -> Verdict
    where
        F: Future<Output = Rules>,
    {
        let Ok(robots_url) = url.join("/robots.txt") else {
            return Verdict::Allowed;
        };
        let site = self.site(url.origin().ascii_serialization());
        let rules = site.rules.get_or_init(|| async {
            let rules = ask(robots_url).await;
            (rules, Instant::now())
        });
        match &rules.await.0 {
            Rules::AllowAll => Verdict::Allowed,
            Rules::Robot(robot) if robot.allowed(url.as_str()) => Verdict::Allowed,
            Rules::Robot(_) => Verdict::Disallowed,
            Rules::Unreachable(why) => Verdict::Unreachable(why.clone()),
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

    async fn verdict(text: &str, url: &str) -> Verdict {
        let url = url.parse().unwrap();
        let rules = Rules::parse(text.as_bytes());
        Robots::default().verdict(&url, |_| async { rules }).await
    }

    #[tokio::test]
    async fn rules_for_us_and_for_everybody_are_obeyed() {
        use Verdict::{Allowed, Disallowed};
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
            assert_eq!(verdict(text, url).await, expected, "{text:?} {url}");
        }
    }

    #[tokio::test]
    async fn a_site_is_asked_once_by_origin() {
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
            let verdict = robots.verdict(&url.parse().unwrap(), ask).await;
            assert_eq!(verdict, Verdict::Allowed);
        }
        assert_eq!(asked.into_inner(), 3);
    }
}
