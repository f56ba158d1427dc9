//! How a server has answered lately, and so how it may be asked: a circuit breaker.
//!
//! ```text
//!          a whole answer                      failures in a row
//! unproven ─────────────▶ trusted ─────────────────────────────▶ left alone
//!    │                       ▲                                    │      ▲
//!    │ a failure             │ a whole answer         the pause   │      │ a failure:
//!    └──────────────────┐    └────────────────── on trial ◀───────┘      │ a longer pause
//!                       └─▶ left alone               └───────────────────┘
//! ```
//!
//! A server that is left alone is asked one thing after each pause. Who wants something else
//! from it waits, and that is no attempt of its own. After as many trials in a row as a message
//! has attempts the server is *down*: from then on attempts count, so that its candidates come to
//! an end.

use std::time::{Duration, Instant};

use maskline_foundation::RetryPolicy;

/// So many failures in a row make a server that is known to answer one that is left alone.
const MAX_FAILURES: u32 = 4;

/// The longest time by which a failure that took long prolongs the pause after it.
const MAX_TAKEN: Duration = Duration::from_secs(60);

/// A server: one port of one host.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// How many requests it has now.
    pub(super) in_hand: u32,
    /// It gave a whole answer once.
    proven: bool,
    /// Failures since the last whole answer.
    failures: u32,
    /// Trials that failed since then. It is above zero while the server is left alone.
    trials: u32,
    /// When it may be tried again.
    not_before: Option<Instant>,
    /// When the first of these failures was, and what was wrong with the last.
    failing_since: Option<Instant>,
    last_error: String,
    /// How long it has mostly taken.
    typical: Option<Duration>,
    /// When the request that it has had longest began.
    pub(super) busy_since: Option<Instant>,
}

/// Whether a server may be asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may have so many requests at a time.
    AtMost(u32),
    /// It is left alone until then.
    LeftAlone(Instant),
    /// It has failed for so long that a wait for it is an attempt. The text says how it failed.
    Down(String),
}

impl Health {
    /// `most` is how many requests it may have at a time at best.
    pub(super) fn verdict(&self, most: u32, policy: &RetryPolicy, now: Instant) -> Verdict {
        let is_due = self.not_before.is_none_or(|time| time <= now) && self.in_hand == 0;
        match self.trials {
            0 if self.proven => Verdict::AtMost((most >> self.failures.min(16)).max(1)),
            0 => Verdict::AtMost(1),
            _ if is_due => Verdict::AtMost(1),
            trials if policy.is_last(trials - 1) => Verdict::Down(self.said(now)),
            _ => Verdict::LeftAlone(self.not_before.unwrap_or(now).max(now)),
        }
    }

    /// It has given whole answers and none of its last ones failed too often.
    pub(super) fn is_trusted(&self) -> bool {
        self.proven && self.trials == 0
    }

    /// How many trials in a row have failed.
    pub(super) fn trials(&self) -> u32 {
        self.trials
    }

    /// When it may be tried again, if it is left alone.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// How long an answer takes by what is known.
    pub(super) fn typical(&self) -> Duration {
        self.typical.unwrap_or_default()
    }

    pub(super) fn succeeded(&mut self, took: Duration) {
        self.took(took);
        self.proven = true;
        (self.failures, self.trials) = (0, 0);
        (self.not_before, self.failing_since) = (None, None);
        self.last_error.clear();
    }

    /// `asked` is the pause that the server asked for.
    pub(super) fn failed(
        &mut self,
        error: &str,
        took: Duration,
        asked: Option<Duration>,
        policy: &RetryPolicy,
        now: Instant,
    ) {
        self.took(took);
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        error.clone_into(&mut self.last_error);
        if self.proven && self.trials == 0 && self.failures < MAX_FAILURES && asked.is_none() {
            return;
        }
        if self.not_before.is_some_and(|time| time > now) {
            // It was asked before it was left alone, so that this was no trial.
            let until = asked.map(|pause| now + pause);
            self.not_before = self.not_before.max(until);
            return;
        }
        // Half of a message's own pause, so that a message that failed itself finds the server
        // due when it comes again.
        let pause = policy.delay(self.trials, None) / 2;
        let pause = pause
            .max(took.min(MAX_TAKEN))
            .max(asked.unwrap_or_default());
        self.trials = self.trials.saturating_add(1);
        self.not_before = Some(now + pause);
    }

    fn took(&mut self, took: Duration) {
        let typical = self.typical.map_or(took, |known| (known * 3 + took) / 4);
        self.typical = Some(typical);
    }

    /// How it has failed, for the error of who is not let in.
    pub(super) fn said(&self, now: Instant) -> String {
        let since = self.failing_since.unwrap_or(now);
        format!(
            "it has failed {} times in a row for {} s, and is tried only now and then: {}",
            self.failures,
            now.saturating_duration_since(since).as_secs(),
            self.last_error
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        base: 1.0,
        factor: 2.0,
        cap: 60.0,
        attempts: 5,
    };
    const MOMENT: Duration = Duration::from_millis(10);

    /// A failure at the first time at which the server may be tried. Returns that time, and the
    /// pause after it.
    fn fail(health: &mut Health, now: Instant) -> (Instant, Duration) {
        let at = health.not_before.unwrap_or(now);
        assert_eq!(health.verdict(4, &POLICY, at), Verdict::AtMost(1));
        health.failed("no answer", MOMENT, None, &POLICY, at);
        (at, health.not_before.unwrap() - at)
    }

    #[test]
    fn a_server_is_asked_one_thing_until_it_has_answered() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!(health.verdict(4, &POLICY, now), Verdict::AtMost(1));
        health.succeeded(MOMENT);
        assert!(health.is_trusted());
        assert_eq!(health.verdict(4, &POLICY, now), Verdict::AtMost(4));
    }

    #[test]
    fn the_more_often_a_trusted_server_fails_the_less_it_is_asked_at_a_time() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.succeeded(MOMENT);
        for most in [2, 1, 1] {
            health.failed("503", MOMENT, None, &POLICY, now);
            assert_eq!(health.verdict(4, &POLICY, now), Verdict::AtMost(most));
        }
        health.failed("503", MOMENT, None, &POLICY, now);
        assert!(
            matches!(health.verdict(4, &POLICY, now), Verdict::LeftAlone(until) if until > now)
        );
        health.succeeded(MOMENT);
        assert_eq!(health.verdict(4, &POLICY, now), Verdict::AtMost(4));
    }

    #[test]
    fn pauses_grow_and_in_the_end_the_server_is_down_but_still_tried() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        let mut pauses = vec![];
        for trial in 1..=5 {
            let (at, pause) = fail(&mut health, now);
            now = at;
            pauses.push(pause);
            let verdict = health.verdict(4, &POLICY, now);
            match trial {
                5 => assert!(matches!(verdict, Verdict::Down(said) if said.contains("no answer"))),
                _ => assert_eq!(verdict, Verdict::LeftAlone(now + pause)),
            }
        }
        assert!(
            pauses.windows(2).all(|pair| pair[1] > pair[0]),
            "{pauses:?}"
        );
        let (at, _) = fail(&mut health, now);
        assert!(at > now, "it was tried again after the pause");
        health.succeeded(MOMENT);
        assert!(health.is_trusted());
    }

    #[test]
    fn while_it_is_tried_nothing_else_is_asked_of_it() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.failed("no answer", MOMENT, None, &POLICY, now);
        let due = health.not_before.unwrap();
        health.in_hand = 1;
        assert_eq!(health.verdict(4, &POLICY, due), Verdict::LeftAlone(due));
    }

    #[test]
    fn the_pause_is_as_long_as_the_failure_took_and_as_the_server_asks() {
        let (mut health, now) = (Health::default(), Instant::now());
        let long = Duration::from_secs(20);
        health.failed("no byte", long, None, &POLICY, now);
        assert!(health.not_before.unwrap() >= now + long);
        let asked = Duration::from_secs(90);
        health.failed("429", MOMENT, Some(asked), &POLICY, now);
        assert_eq!(health.not_before.unwrap(), now + asked);
    }

    #[test]
    fn requests_that_fail_together_are_one_trial() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.succeeded(MOMENT);
        for _ in 0..60 {
            health.failed("no answer", MOMENT, None, &POLICY, now);
        }
        assert!(matches!(
            health.verdict(4, &POLICY, now),
            Verdict::LeftAlone(_)
        ));
    }
}
