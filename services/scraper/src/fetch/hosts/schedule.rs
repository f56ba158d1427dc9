//! When the messages come again that can't be handled now.
//!
//! Each is given a time of its own, one after the other at the pace at which the site can be
//! asked. So a site with a hundred thousand waiting candidates does not send each of them through
//! the broker again and again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use maskline_messages::JobId;

/// The shortest wait of a message that is sent away.
const SHORTEST: Duration = Duration::from_millis(250);

/// How many jobs are told apart.
const MAX_JOBS: usize = 64;

/// The times that were given, by job. Each job has its own, so that the few candidates of one
/// do not come after the many of another.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    last: HashMap<Option<JobId>, Instant>,
    given: u32,
}

impl Schedule {
    /// The wait of the next message of `job`, which is not before `earliest`. `spacing` is the
    /// time from one message to the next that the site allows. No wait is longer than `longest`.
    pub(super) fn next_wait(
        &mut self,
        job: Option<JobId>,
        spacing: Duration,
        earliest: Instant,
        longest: Duration,
        now: Instant,
    ) -> Duration {
        self.last.retain(|_, last| *last > now);
        let known = self.last.get(&job).copied();
        let jobs = self.last.len() + usize::from(known.is_none());
        if known.is_none() && self.last.len() >= MAX_JOBS {
            return longest;
        }
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
        let at = known.unwrap_or(now).max(earliest) + spacing.saturating_mul(jobs);
        let wait = (at - now).max(SHORTEST);
        if wait <= longest {
            self.last.insert(job, at);
            return wait;
        }
        // Those that come too late for a time of their own are spread, so that they do not come
        // together. They are given a time then.
        self.given = self.given.wrapping_add(1);
        let part = f64::from(self.given.wrapping_mul(0x9E37_79B9)) / f64::from(u32::MAX);
        longest.mul_f64(0.5 + part / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn each_message_has_a_time_of_its_own() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let waits = (0..1_000).map(|_| schedule.next_wait(None, TENTH, now, HOUR, now));
        let waits: Vec<_> = waits.collect();
        let late = &waits[3..];
        assert!(late.windows(2).all(|pair| pair[1] - pair[0] == TENTH));
        assert_eq!(waits[999], 1_000 * TENTH);
    }

    #[test]
    fn a_small_job_does_not_come_after_a_large_one() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let (large, small) = (Some(JobId::draw()), Some(JobId::draw()));
        for _ in 0..10_000 {
            schedule.next_wait(large, TENTH, now, HOUR, now);
        }
        let waits = (0..50).map(|_| schedule.next_wait(small, TENTH, now, HOUR, now));
        assert_eq!(waits.last(), Some(2 * 50 * TENTH), "half of the pace");
    }

    #[test]
    fn no_wait_is_too_long_and_those_that_would_be_are_spread() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let minute = Duration::from_secs(60);
        let waits = (0..10_000).map(|_| schedule.next_wait(None, TENTH, now, minute, now));
        let waits: Vec<_> = waits.collect();
        assert!(waits.iter().all(|wait| *wait <= minute));
        let late = &waits[600..];
        let early = late.iter().filter(|wait| **wait < minute * 3 / 4).count();
        assert!((4_000..5_400).contains(&early), "{early} of {}", late.len());
    }

    #[test]
    fn nothing_comes_before_the_earliest_time() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let wait = schedule.next_wait(None, TENTH, now + 9 * TENTH, HOUR, now);
        assert_eq!(wait, 10 * TENTH);
    }
}
