//! Which queue a message waits in for its next attempt.
//!
//! Each work queue has a ladder of delay queues, and each rung takes waits up to four times as
//! long as the one below it. The messages of a rung are taken from it in the order in which they
//! came, and so many at a time that mostly each comes back at its own time. If more of them wait,
//! a short wait is held up by a longer one of the same rung, but not by one of a higher rung.
//!
//! A delay queue takes as many messages as its work queue. If it takes no more, the next longer one
//! does. If none does, a delivery that is to be retried waits in the consumer. The queue's name
//! contains the limit, since a queue can't be declared with another limit than the one it has.

use std::time::Duration;

use maskline_messages::Queue;

/// The longest wait of the lowest queue on the ladder. That of each next one is four times as
/// long. The longest of all must be shorter than RabbitMQ's `consumer_timeout`, by default half an
/// hour: so long may a consumer have a message in hand.
const SHORTEST: Duration = Duration::from_secs(1);
const FACTOR: u32 = 4;
const RUNGS: u32 = 6;

/// A wait: the part that begins now, and the part after that, if it is longer than the longest
/// queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub now: Duration,
    pub left: Duration,
}

impl From<Duration> for Wait {
    fn from(after: Duration) -> Self {
        let longest = SHORTEST * FACTOR.pow(RUNGS - 1);
        let now = after.min(longest);
        Self {
            now,
            left: after - now,
        }
    }
}

/// The longest waits of all queues on the ladder, the shortest first.
pub fn rungs() -> impl Iterator<Item = Duration> {
    (0..RUNGS).map(|rung| SHORTEST * FACTOR.pow(rung))
}

/// The rungs whose queues a message may wait in, the best one first.
pub fn rungs_for(wait: Wait) -> impl Iterator<Item = Duration> {
    rungs().filter(move |&rung| wait.now <= rung)
}

/// The name of the delay queue of `queue` that has this rung.
pub fn name(queue: Queue, rung: Duration, max_length: i64) -> String {
    format!("{queue}.delay.{}.max.{max_length}", rung.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_goes_to_the_lowest_rung_that_is_long_enough_or_a_higher_one() {
        let seconds = |after| {
            let rungs = rungs_for(Duration::from_secs_f64(after).into());
            rungs.map(|rung| rung.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(seconds(0.0), [1, 4, 16, 64, 256, 1024]);
        assert_eq!(seconds(1.0), [1, 4, 16, 64, 256, 1024]);
        assert_eq!(seconds(1.1), [4, 16, 64, 256, 1024]);
        assert_eq!(seconds(256.0), [256, 1024]);
        assert_eq!(seconds(5000.0), [1024]);
    }

    #[test]
    fn a_wait_that_is_longer_than_the_longest_queue_takes_is_split() {
        let split = |seconds| {
            let wait = Wait::from(Duration::from_secs(seconds));
            (wait.now.as_secs(), wait.left.as_secs())
        };
        assert_eq!(split(3), (3, 0));
        assert_eq!(split(1024), (1024, 0));
        assert_eq!(split(3600), (1024, 2576));
    }
}
