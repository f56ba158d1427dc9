//! The least rate at which a body must arrive.

use std::time::{Duration, Instant};

/// A body that stays below the least rate for so long is given up.
const WINDOW: Duration = Duration::from_secs(20);

/// Watches how fast a body arrives.
pub(super) struct Pace {
    /// The bytes that must arrive in each window.
    least: u64,
    received: u64,
    window: Duration,
    ends: Instant,
}

impl Pace {
    /// Demands so many bytes a second, and one byte at least.
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self::of_window(bytes_per_second, WINDOW, now)
    }

    fn of_window(bytes_per_second: u64, window: Duration, now: Instant) -> Self {
        Self {
            least: bytes_per_second.saturating_mul(window.as_secs()).max(1),
            received: 0,
            window,
            ends: now + window,
        }
    }

    pub(super) fn received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// The body was not read for this time, because something else was waited for.
    pub(super) fn paused(&mut self, time: Duration) {
        self.ends += time;
    }

    /// When to look again.
    pub(super) fn ends(&self) -> Instant {
        self.ends
    }

    /// Whether the body has been too slow, once the window is over.
    pub(super) fn is_too_slow(&mut self, now: Instant) -> bool {
        if now < self.ends {
            return false;
        }
        let too_slow = self.received < self.least;
        (self.received, self.ends) = (0, now + self.window);
        too_slow
    }

    /// What was demanded and not kept.
    pub(super) fn said(&self) -> String {
        format!(
            "fewer than {} bytes arrived in {} s",
            self.least,
            self.window.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_must_bring_its_bytes() {
        let start = Instant::now();
        let mut pace = Pace::new(1_024, start);
        pace.received(20 * 1_024);
        assert!(!pace.is_too_slow(start + Duration::from_secs(19)));
        assert!(!pace.is_too_slow(start + WINDOW));
        pace.received(20 * 1_024 - 1);
        assert!(pace.is_too_slow(start + 2 * WINDOW));
    }

    #[test]
    fn time_in_which_nothing_was_read_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace::new(1, start);
        pace.paused(Duration::from_secs(60));
        assert!(!pace.is_too_slow(start + Duration::from_secs(79)));
        assert!(pace.is_too_slow(start + Duration::from_secs(80)));
    }
}
