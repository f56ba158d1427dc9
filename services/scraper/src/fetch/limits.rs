//! How much a fetch may take.

use std::time::Duration;

use maskline_foundation::RetryPolicy;

#[cfg(test)]
use maskline_storage::records::ShareLimit;

use super::site_limits::SiteLimits;

/// The room that a body begins with, in bytes, whatever size it promises.
pub(super) const INITIAL_ROOM: u64 = 64 << 10;

/// The limits of all fetches of a process.
#[derive(Debug, Clone)]
pub(crate) struct FetchLimits {
    /// The most bytes of one image.
    pub(crate) bytes: u64,
    /// The most bytes of all downloads in hand together. Many images are fetched at a time,
    /// and yet the process must stay small.
    pub(crate) bytes_in_flight: u64,
    /// The longest time that connecting may take.
    pub(crate) connect_timeout: Duration,
    /// The longest time from a request to the headers of its answer.
    pub(crate) answer_timeout: Duration,
    /// How many bytes of a body must arrive per second.
    pub(crate) min_rate: u64,
    /// The longest time that one request may take, from its start to the body's end.
    pub(crate) timeout: Duration,
    /// The same for a list of URLs.
    pub(crate) list_timeout: Duration,
    /// How many redirects are followed.
    pub(crate) redirects: u32,
    /// How often each site may be asked.
    pub(crate) sites: SiteLimits,
    /// How many images are in hand at a time.
    pub(crate) in_hand: usize,
    /// How often a server is tried before it counts as down.
    pub(crate) retry: RetryPolicy,
    /// Also ask addresses that are not public.
    pub(crate) allow_private_hosts: bool,
    /// Do not ask for robots.txt.
    pub(crate) ignore_robots: bool,
    /// Do not look for opt-outs in answers.
    pub(crate) ignore_opt_outs: bool,
}

impl FetchLimits {
    /// Limits for the tests of this crate: a site on this machine may be asked often.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            bytes: 2 << 20,
            bytes_in_flight: 32 << 20,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            list_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(20),
            min_rate: 1024,
            redirects: 5,
            sites: SiteLimits::new(
                ShareLimit {
                    at_a_time: 16,
                    interval: Duration::from_micros(100),
                },
                true,
            ),
            in_hand: 64,
            retry: RetryPolicy::DEFAULT,
            allow_private_hosts: true,
            ignore_robots: false,
            ignore_opt_outs: false,
        }
    }

    /// The bytes of all downloads together, but at least those of one largest download.
    pub(super) fn room(&self) -> u64 {
        self.bytes_in_flight.max(self.bytes).max(INITIAL_ROOM)
    }
}
