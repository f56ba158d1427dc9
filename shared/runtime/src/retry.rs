//! How long to wait before a message is tried again, and how often.

use std::time::Duration;

use clap::Args;
use rand::RngExt;

/// Exponential back-off with jitter, bounded.
///
/// The defaults wait 0.5, 1, 2 … 60, 60 seconds: three minutes in all, so that
/// a server that is restarted is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Args)]
pub struct RetryPolicy {
    /// The wait before the second attempt, in seconds
    #[arg(long = "retry-base", env = "MASKLINE_RETRY_BASE", value_name = "SECONDS",
          default_value_t = Self::DEFAULT.base, hide = true)]
    pub base: f64,
    /// Each further wait is longer by this factor
    #[arg(long = "retry-factor", env = "MASKLINE_RETRY_FACTOR",
          default_value_t = Self::DEFAULT.factor, hide = true)]
    pub factor: f64,
    /// The longest wait of the back-off, in seconds
    #[arg(long = "retry-cap", env = "MASKLINE_RETRY_CAP", value_name = "SECONDS",
          default_value_t = Self::DEFAULT.cap, hide = true)]
    pub cap: f64,
    /// After this many attempts a message goes to the dead letters
    #[arg(long = "retry-attempts", env = "MASKLINE_RETRY_ATTEMPTS", value_name = "N",
          default_value_t = Self::DEFAULT.attempts, hide = true)]
    pub attempts: u32,
}

/// The longest wait that a server may ask for (Retry-After): whoever says a year
/// does not decide how long a job takes.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// By how much a wait may be longer than computed, so that what failed together
/// does not come again together.
const JITTER: f64 = 0.25;

impl RetryPolicy {
    pub const DEFAULT: Self = Self {
        base: 0.5,
        factor: 2.0,
        cap: 60.0,
        attempts: 10,
    };

    /// Whether the attempt after `earlier` failed ones is the last.
    pub fn is_last(&self, earlier: u32) -> bool {
        earlier.saturating_add(1) >= self.attempts
    }

    /// The wait after an attempt that `earlier` failed ones came before: never
    /// shorter than `asked`, up to a quarter longer than the back-off says.
    pub fn delay(&self, earlier: u32, asked: Option<Duration>) -> Duration {
        let jitter = 1.0 + JITTER * rand::rng().random::<f64>();
        let backoff = self.backoff(earlier).mul_f64(jitter);
        backoff.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }

    fn backoff(&self, earlier: u32) -> Duration {
        let exponent = i32::try_from(earlier).unwrap_or(i32::MAX);
        let seconds = (self.base * self.factor.powi(exponent)).min(self.cap);
        // Nonsense from the command line (negative, NaN) waits for the cap's default.
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(Duration::from_secs_f64(Self::DEFAULT.cap))
            .min(LONGEST_ASKED)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_cap() {
        let policy = RetryPolicy::default();
        let seconds: Vec<f64> = (0..9).map(|n| policy.backoff(n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    }

    #[test]
    fn an_absent_server_is_waited_for_more_than_two_minutes() {
        let policy = RetryPolicy::default();
        let total: Duration = (0..)
            .take_while(|&earlier| !policy.is_last(earlier))
            .map(|earlier| policy.backoff(earlier))
            .sum();
        assert!(total > Duration::from_secs(120), "{total:?}");
    }

    #[test]
    fn a_wait_is_jittered_upwards_only() {
        let policy = RetryPolicy::default();
        for _ in 0..1000 {
            let delay = policy.delay(1, None).as_secs_f64();
            assert!((1.0..=1.25).contains(&delay), "{delay}");
        }
    }

    #[test]
    fn what_the_server_asks_for_is_the_least_within_an_hour() {
        let policy = RetryPolicy::default();
        let asked = |seconds| policy.delay(0, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(90), Duration::from_secs(90));
        assert_eq!(asked(365 * 86_400), LONGEST_ASKED);
    }

    #[test]
    fn nonsense_settings_still_give_a_bounded_wait() {
        let policy = RetryPolicy {
            base: f64::NAN,
            factor: -1.0,
            cap: f64::INFINITY,
            attempts: 0,
        };
        assert!(policy.is_last(0));
        assert!(policy.delay(u32::MAX, None) <= LONGEST_ASKED.mul_f64(1.0 + JITTER));
    }
}
