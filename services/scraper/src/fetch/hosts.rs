//! Politeness: how many requests a host gets at a time and per second.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hosts remembered. More than can be in use at a time, so that only the limits
/// of hosts that nobody asks now are forgotten.
const MOST_HOSTS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// The limits of every host that was asked lately.
pub struct Hosts {
    concurrency: usize,
    quota: Quota,
    known: Mutex<LruCache<String, Arc<Host>>>,
}

struct Host {
    slots: Arc<Semaphore>,
    rate: DefaultDirectRateLimiter,
}

/// A request that may be made now; drop it when the answer is read.
pub struct Turn {
    _slot: OwnedSemaphorePermit,
    // Held, so that the host counts as in use.
    _host: Arc<Host>,
}

impl Hosts {
    pub fn new(concurrency: usize, per_second: NonZeroU32) -> Self {
        Self {
            concurrency: concurrency.max(1),
            quota: Quota::per_second(per_second),
            known: Mutex::new(LruCache::unbounded()),
        }
    }

    /// Waits for a turn at `host`.
    pub async fn turn(&self, host: &str) -> Turn {
        let host = self.host(host);
        let slot = host.slots.clone().acquire_owned().await;
        host.rate.until_ready().await;
        Turn {
            _slot: slot.expect("never closed"),
            _host: host,
        }
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut known = self.known.lock();
        if let Some(host) = known.get(name) {
            return host.clone();
        }
        if known.len() >= MOST_HOSTS.get() {
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

    fn hosts(concurrency: usize) -> Hosts {
        Hosts::new(concurrency, NonZeroU32::new(1_000_000).unwrap())
    }

    #[tokio::test]
    async fn a_host_gets_no_more_requests_at_a_time_than_allowed_and_others_dont_wait() {
        let hosts = hosts(2);
        let first = hosts.turn("a").await;
        let _second = hosts.turn("a").await;
        assert!(hosts.turn("a").now_or_never().is_none());
        assert!(hosts.turn("b").now_or_never().is_some());
        drop(first);
        assert!(hosts.turn("a").now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_rate_of_a_host_is_bounded() {
        let hosts = Hosts::new(100, NonZeroU32::new(3).unwrap());
        for _ in 0..3 {
            assert!(hosts.turn("a").now_or_never().is_some());
        }
        assert!(hosts.turn("a").now_or_never().is_none());
        assert!(hosts.turn("b").now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_memory_of_hosts_is_bounded_and_keeps_those_in_use() {
        let hosts = hosts(1);
        let _busy = hosts.turn("busy").await;
        for n in 0..2 * MOST_HOSTS.get() {
            hosts.turn(&format!("host-{n}")).await;
        }
        assert!(hosts.known.lock().len() <= MOST_HOSTS.get());
        assert!(
            hosts.turn("busy").now_or_never().is_none(),
            "its one slot is still taken"
        );
    }
}
