//! How often each provider may be asked, by all replicas together.

use std::{num::NonZeroU32, time::Duration};

use maskline_messages::SearchProvider;
use maskline_storage::records::Quota;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A provider counts requests when they arrive, and we count them when they are sent. Our
/// periods are longer by this time, so that a slow request before a fast one is not too much.
pub(super) const ON_THE_WAY: Duration = Duration::from_secs(2);

/// The key under which the quota of a provider is kept, and the quota.
///
/// `has_key`: the provider is asked with a key. `has_contact`: the `User-Agent` names the
/// operator.
pub(super) fn quota_of(
    provider: SearchProvider,
    has_key: bool,
    has_contact: bool,
) -> (&'static str, Quota) {
    let quota = Quota::default();
    match provider {
        SearchProvider::Openverse => {
            let (minute, day) = if has_key { (100, 10_000) } else { (20, 200) };
            let quota = at_most(at_most(quota, minute, MINUTE), day, DAY);
            ("search/openverse", quota)
        }
        SearchProvider::Commons => {
            let minute = if has_contact { 200 } else { 10 };
            ("search/commons", at_most(quota, minute, MINUTE))
        }
        SearchProvider::Flickr => ("search/flickr", at_most(quota, 3600, HOUR)),
        // Each plan has limits of its own, which the answers tell.
        SearchProvider::SerpapiGoogle | SearchProvider::SerpapiBing => (
            "search/serpapi",
            quota.with_interval(Duration::from_secs(1)),
        ),
        SearchProvider::Brave => (
            "search/brave",
            quota.with_interval(Duration::from_millis(1_200)),
        ),
    }
}

fn at_most(quota: Quota, requests: u32, length: Duration) -> Quota {
    let requests = NonZeroU32::new(requests).expect("not zero");
    quota.at_most(requests, length + ON_THE_WAY)
}
