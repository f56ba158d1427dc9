//! How much a fetch may take.

use std::{num::NonZeroU32, time::Duration};

/// The room that a body of unknown size begins with, in bytes.
pub(super) const INITIAL_ROOM: u64 = 256 << 10;

/// The limits of all fetches of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchLimits {
    /// The most bytes of one image.
    pub(crate) bytes: u64,
    /// The most bytes of all downloads in hand together. Many images are fetched at a time,
    /// and yet the process must stay small.
    pub(crate) bytes_in_flight: u64,
    /// The longest time that connecting may take.
    pub(crate) connect_timeout: Duration,
    /// The longest time that one request may take, from its start to the body's end.
    pub(crate) timeout: Duration,
    /// The same for a list of URLs.
    pub(crate) list_timeout: Duration,
    /// How many redirects are followed.
    pub(crate) redirects: u32,
    /// How many requests one host gets at a time.
    pub(crate) per_host: usize,
    /// How many requests one host gets per second.
    pub(crate) per_host_rate: NonZeroU32,
    /// Also ask addresses that are not public.
    pub(crate) allow_private_hosts: bool,
    /// Do not ask for robots.txt.
    pub(crate) ignore_robots: bool,
}

impl FetchLimits {
    /// Limits for the tests of this crate: a site on this machine may be asked often.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            bytes: 2 << 20,
            bytes_in_flight: 32 << 20,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            list_timeout: Duration::from_secs(10),
            redirects: 5,
            per_host: 16,
            per_host_rate: NonZeroU32::new(10_000).expect("not zero"),
            allow_private_hosts: true,
            ignore_robots: false,
        }
    }

    /// The bytes of all downloads together, but at least those of one largest download.
    pub(super) fn room(&self) -> u64 {
        self.bytes_in_flight.max(self.bytes).max(INITIAL_ROOM)
    }
}
