//! Politeness: how many requests a host gets at a time and per second.
//!
//! RFC 9112, section 9.4, asks clients to limit their simultaneous connections to a server
//! and names no number. No RFC bounds the requests per second.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many hosts are remembered. It is more than can be in use at a time, so that only
/// hosts that nobody asks now are forgotten.
const MAX_HOSTS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Gives out permits to ask hosts. It remembers the hosts that were asked lately.
pub(super) struct HostLimits {
    concurrency: usize,
    quota: Quota,
    known: Mutex<LruCache<String, Arc<Host>>>,
}

struct Host {
    slots: Arc<Semaphore>,
    rate: DefaultDirectRateLimiter,
}

/// The permit for one request, to be dropped when the response is read.
pub(super) struct HostPermit {
    _slot: OwnedSemaphorePermit,
    // As long as it is held, the host counts as in use.
    _host: Arc<Host>,
}

impl HostLimits {
    /// At most `concurrency` requests at a time and `per_second` to each host.
    pub(super) fn new(concurrency: usize, per_second: NonZeroU32) -> Self {
        Self {
            concurrency: concurrency.max(1),
            quota: Quota::per_second(per_second),
            known: Mutex::new(LruCache::unbounded()),
        }
    }

    /// Waits until `host` may be asked.
    pub(super) async fn acquire(&self, host: &str) -> HostPermit {
        let host = self.host(host);
        let slot = host.slots.clone().acquire_owned().await;
        host.rate.until_ready().await;
        HostPermit {
            _slot: slot.expect("never closed"),
            _host: host,
        }
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut known = self.known.lock();
        if let Some(host) = known.get(name) {
            return host.clone();
        }
        if known.len() >= MAX_HOSTS.get() {
            forget_one(&mut known);
        }
        let host = Arc::new(Host {
            slots: Arc::new(Semaphore::new(self.concurrency)),
            rate: RateLimiter::direct(self.quota),
        });
        known.put(name.to_owned(), host.clone());
        host
    }
}

/// Forgets the host that was asked longest ago and is not in use.
fn forget_one(known: &mut LruCache<String, Arc<Host>>) {
    for _ in 0..known.len() {
        match known.pop_lru() {
            Some((name, host)) if Arc::strong_count(&host) > 1 => known.put(name, host),
            _ => break,
        };
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn hosts(concurrency: usize) -> HostLimits {
        HostLimits::new(concurrency, NonZeroU32::new(1_000_000).unwrap())
    }

    #[tokio::test]
    async fn a_host_gets_no_more_requests_at_a_time_than_allowed_and_others_do_not_wait() {
        let hosts = hosts(2);
        let first = hosts.acquire("a").await;
        let _second = hosts.acquire("a").await;
        assert!(hosts.acquire("a").now_or_never().is_none());
        assert!(hosts.acquire("b").now_or_never().is_some());
        drop(first);
        assert!(hosts.acquire("a").now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_rate_of_a_host_is_bounded() {
        let hosts = HostLimits::new(100, NonZeroU32::new(3).unwrap());
        for _ in 0..3 {
            assert!(hosts.acquire("a").now_or_never().is_some());
        }
        assert!(hosts.acquire("a").now_or_never().is_none());
        assert!(hosts.acquire("b").now_or_never().is_some());
    }

    #[tokio::test]
    async fn hosts_in_use_are_remembered_and_others_forgotten() {
        let hosts = hosts(1);
        let _busy = hosts.acquire("busy").await;
        for n in 0..2 * MAX_HOSTS.get() {
            hosts.acquire(&format!("host-{n}")).await;
        }
        assert!(hosts.known.lock().len() <= MAX_HOSTS.get());
        assert!(
            hosts.acquire("busy").now_or_never().is_none(),
            "its one slot is still taken"
        );
    }
}
