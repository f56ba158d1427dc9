//! How long to wait before something is tried again, and how often.

use std::time::Duration;

use clap::Args;
use rand::RngExt;

/// When a message is tried again: exponential back-off with jitter, bounded.
///
/// The defaults wait 0.5, 1, 2 … 60, 60 seconds. That is three minutes in all, enough to
/// restart a server.
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

/// The longest wait that a server may ask for (Retry-After). A server that asks for a year
/// must not decide how long a job takes. A message that waits for longer than this, because a
/// quota is used up for the day, comes and waits again.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// The shortest wait of a message whose turn has not come, so that it does not come and go
/// without a pause.
const SHORTEST_POSTPONED: Duration = Duration::from_millis(50);

/// By how much a wait may be longer than computed, so that attempts that failed together
/// are not made together again.
const JITTER: f64 = 0.25;

impl RetryPolicy {
    pub const DEFAULT: Self = Self {
        base: 0.5,
        factor: 2.0,
        cap: 60.0,
        attempts: 10,
    };

    /// True if the attempt after `earlier` failed ones is the last.
    pub fn is_last(&self, earlier: u32) -> bool {
        earlier.saturating_add(1) >= self.attempts
    }

    /// The wait after an attempt that `earlier` failed ones came before. It is never
    /// shorter than `asked`, and up to a quarter longer than the back-off says.
    pub fn delay(&self, earlier: u32, asked: Option<Duration>) -> Duration {
        let backoff = jittered(self.wait(earlier));
        backoff.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }

    /// The wait of a message whose turn comes after `after`.
    pub fn postponed(after: Duration) -> Duration {
        after.clamp(SHORTEST_POSTPONED, LONGEST_ASKED)
    }

    /// The waits of this policy for a loop that goes on until it succeeds, however many
    /// attempts that takes.
    pub fn backoff(&self) -> Backoff {
        Backoff {
            policy: *self,
            waits: 0,
        }
    }

    fn wait(&self, earlier: u32) -> Duration {
        let exponent = i32::try_from(earlier).unwrap_or(i32::MAX);
        let seconds = (self.base * self.factor.powi(exponent)).min(self.cap);
        // For nonsense from the command line (negative, NaN) the wait is the default cap.
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(Duration::from_secs_f64(Self::DEFAULT.cap))
            .min(LONGEST_ASKED)
    }
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + JITTER * rand::rng().random::<f64>())
}

/// The waits of a loop that tries until it succeeds. Each is longer than the one before by the
/// policy's factor, up to its cap, and jittered. The iterator never ends.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: RetryPolicy,
    waits: u32,
}

impl Backoff {
    /// Waits of `first` seconds, then twice that, and so on up to `cap` seconds.
    pub const fn doubling(first: f64, cap: f64) -> Self {
        Self {
            policy: RetryPolicy {
                base: first,
                factor: 2.0,
                cap,
                attempts: u32::MAX,
            },
            waits: 0,
        }
    }

    /// The next wait. It is longer than the last one until the cap is reached.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.policy.delay(self.waits, None);
        self.waits = self.waits.saturating_add(1);
        wait
    }

    /// Sleeps for the next wait.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_wait()).await;
    }

    /// How many waits there were since the beginning or the last [`reset`](Self::reset).
    pub fn waits(&self) -> u32 {
        self.waits
    }

    /// Begins anew with the shortest wait, because something succeeded.
    pub fn reset(&mut self) {
        self.waits = 0;
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.next_wait())
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
        let seconds: Vec<f64> = (0..9).map(|n| policy.wait(n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    }

    #[test]
    fn all_attempts_together_wait_for_more_than_two_minutes() {
        let policy = RetryPolicy::default();
        let total: Duration = (0..)
            .take_while(|&earlier| !policy.is_last(earlier))
            .map(|earlier| policy.wait(earlier))
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
    fn a_loop_waits_twice_as_long_each_time_until_it_is_reset() {
        let is_within = |wait: Duration, seconds: f64| {
            (seconds..=seconds * (1.0 + JITTER)).contains(&wait.as_secs_f64())
        };
        let mut backoff = Backoff::doubling(0.1, 0.3);
        for expected in [0.1, 0.2, 0.3, 0.3] {
            let wait = backoff.next_wait();
            assert!(is_within(wait, expected), "{wait:?}, not {expected} s");
        }
        assert_eq!(backoff.waits(), 4);
        backoff.reset();
        assert!(backoff.take(1).all(|wait| is_within(wait, 0.1)));
    }

    #[test]
    fn a_wait_is_at_least_what_the_server_asks_for_up_to_an_hour() {
        let policy = RetryPolicy::default();
        let asked = |seconds| policy.delay(0, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(90), Duration::from_secs(90));
        assert_eq!(asked(365 * 86_400), LONGEST_ASKED);
    }

    #[test]
    fn a_message_waits_for_its_turn_for_an_hour_at_a_time_at_most() {
        let waits = [0, 60, 86_400].map(|s| RetryPolicy::postponed(Duration::from_secs(s)));
        let minute = Duration::from_secs(60);
        assert_eq!(waits, [SHORTEST_POSTPONED, minute, LONGEST_ASKED]);
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
