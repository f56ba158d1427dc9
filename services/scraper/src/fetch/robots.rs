//! What a site asks of robots: its robots.txt, by RFC 9309.
//!
//! A site is asked once and its rules are remembered. Section numbers here are those of
//! the RFC.
//!
//! * [`rule_set`]: the rules for one crawler.

mod rule_set;

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use url::{Position, Url};

use super::user_agent::PRODUCT;

pub use rule_set::RuleSet;

/// How much of a robots.txt is read. It is the least that section 2.5 allows.
pub(super) const MAX_BYTES: usize = 500 << 10;

/// How many redirects to a robots.txt are followed at least (section 2.3.1.2).
pub(super) const REDIRECTS: u32 = 5;

/// How many sites are remembered.
const MAX_SITES: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

/// How many bytes the rules of all sites that are remembered take together. Those of most sites
/// take less than a kilobyte.
const MAX_REMEMBERED: usize = 16 << 20;

/// How long rules are used before they are asked for again. Section 2.4 allows a day.
const VALID_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// What a site's robots.txt says.
pub enum Rules {
    /// There is no robots.txt ("unavailable", section 2.3.1.3).
    AllowAll,
    /// The rules that it has for this crawler.
    Rules(RuleSet),
    /// The site did not answer, for the reason given here. Until it does, it must be
    /// assumed to forbid everything ("unreachable", section 2.3.1.4).
    Unreachable(String),
}

impl Rules {
    /// Parses as much of a robots.txt as is read at all (section 2.5).
    pub fn parse(text: &[u8]) -> Self {
        Self::Rules(RuleSet::parse(&text[..text.len().min(MAX_BYTES)], PRODUCT))
    }

    /// How many bytes of memory they take.
    fn bytes(&self) -> usize {
        match self {
            Self::AllowAll => 0,
            Self::Rules(rules) => rules.bytes(),
            Self::Unreachable(reason) => reason.len(),
        }
    }
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
        let is_new = site.rules.get().is_none();
        let rules = &rules.await.0;
        if is_new {
            self.forget_what_is_too_much();
        }
        match rules {
            Rules::AllowAll => Permission::Allowed,
            Rules::Rules(rules) => {
                match rules.allows(&url[Position::BeforePath..Position::AfterQuery]) {
                    true => Permission::Allowed,
                    false => Permission::Disallowed,
                }
            }
            Rules::Unreachable(reason) => Permission::Unknown(reason.clone()),
        }
    }

    /// Forgets the sites that were asked about longest ago, as long as all rules together take too
    /// much memory.
    fn forget_what_is_too_much(&self) {
        let mut sites = self.sites.lock();
        let bytes = |site: &Arc<Site>| site.rules.get().map_or(0, |(rules, _)| rules.bytes());
        let mut all: usize = sites.iter().map(|(_, site)| bytes(site)).sum();
        while all > MAX_REMEMBERED
            && let Some((_, site)) = sites.pop_lru()
        {
            all -= bytes(&site);
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
    async fn the_rules_of_many_sites_stay_within_their_memory() {
        let robots = Robots::default();
        let mut text = "User-agent: *\n".to_owned();
        for number in 0..20_000 {
            text += &format!("Disallow: /{number:015}\n");
        }
        let of_one = Rules::parse(text.as_bytes()).bytes();
        let sites = 2 * MAX_REMEMBERED / of_one;
        assert!((10..MAX_SITES.get()).contains(&sites), "{sites}");
        for site in 0..sites {
            let url = format!("http://a{site}/000000000000007/x").parse().unwrap();
            let rules = Rules::parse(text.as_bytes());
            let permission = robots.permission(&url, |_| async { rules }).await;
            assert_eq!(permission, Permission::Disallowed);
        }
        let kept = robots.sites.lock().len();
        assert!(kept * of_one <= MAX_REMEMBERED, "{kept}");
        // The last ones are those that are kept.
        let last = format!("http://a{}/x", sites - 1).parse().unwrap();
        let asked = |_| async { panic!("it is known") };
        assert_eq!(robots.permission(&last, asked).await, Permission::Allowed);
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
