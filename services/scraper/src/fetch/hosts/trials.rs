//! The requests to servers that are not trusted. There may be only so many at a time, so that
//! others have places, too. One that takes long gives its place to another server that waits.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use lru::LruCache;
use maskline_messages::JobId;
use tokio::sync::Notify;

use super::schedule::Schedule;

/// How long a server may take for its first trial while others wait. Each further trial may take
/// twice as long as the one before, so that a server that is only slow comes to its end.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);

/// The longest time for which a message that finds no place is sent away.
const LONGEST_AWAY: Duration = Duration::from_secs(3 * 60);

/// The number of servers for which it is remembered how often they were cut short. It is larger than
/// the number of servers whose health is kept. Otherwise each of many silent ones would have its
/// first trial again and again.
const MAX_CUT_SHORT: NonZeroUsize = NonZeroUsize::new(1 << 15).unwrap();

/// Whoever asks a server that is not trusted.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    id: u64,
    /// From then on it gives way to others, if it does at all.
    pub(super) gives_way_at: Option<Instant>,
    /// It is asked to give way.
    pub(super) leaves: Arc<Notify>,
}

/// All trials of a process.
pub(super) struct Trials {
    most: usize,
    running: BTreeMap<u64, Running>,
    next_id: u64,
    schedule: Schedule,
    /// How often in a row each server has given its place away.
    cut_short: LruCache<String, u32>,
}

struct Running {
    trial: Trial,
    /// The server has failed before.
    is_again: bool,
    is_leaving: bool,
}

impl Trials {
    /// At most so many at a time, and half of them with servers that have failed before.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            running: BTreeMap::new(),
            next_id: 0,
            schedule: Schedule::default(),
            cut_short: LruCache::new(MAX_CUT_SHORT),
        }
    }

    /// How many trials of a server ended in vain, of which it is known that so many `failed`.
    pub(super) fn earlier(&mut self, server: &str, failed: u32) -> u32 {
        let cut_short = self.cut_short.get(server).copied();
        failed.max(cut_short.unwrap_or_default())
    }

    /// The server has taken longer than others could wait.
    pub(super) fn cut_short(&mut self, server: &str) {
        let times = self.cut_short.get_or_insert_mut_ref(server, || 0);
        *times = times.saturating_add(1);
    }

    /// The server has given a whole answer.
    pub(super) fn succeeded(&mut self, server: &str) {
        self.cut_short.pop(server);
    }

    /// Whether there is a place for a server that has failed before, or for a new one.
    pub(super) fn has_place(&self, is_again: bool) -> bool {
        self.running.len() < self.most && !(is_again && self.failed_ones_are_full())
    }

    fn failed_ones_are_full(&self) -> bool {
        let again = self.running.values().filter(|running| running.is_again);
        again.count() >= (self.most / 2).max(1)
    }

    /// A trial begins, before which the server has failed `earlier` times. Unless `may_leave`,
    /// it gives way to nobody.
    pub(super) fn begin(&mut self, earlier: u32, may_leave: bool, now: Instant) -> Trial {
        self.next_id += 1;
        let patience = FIRST_PATIENCE * (1 << earlier.min(16));
        let trial = Trial {
            id: self.next_id,
            gives_way_at: may_leave.then(|| now + patience),
            leaves: Arc::default(),
        };
        let running = Running {
            trial: trial.clone(),
            is_again: earlier > 0,
            is_leaving: false,
        };
        self.running.insert(trial.id, running);
        trial
    }

    pub(super) fn end(&mut self, trial: &Trial) {
        self.running.remove(&trial.id);
    }

    pub(super) fn is_one_leaving(&self) -> bool {
        self.running.values().any(|running| running.is_leaving)
    }

    /// Asks the trial that has been due longest to give its place to a server that has failed
    /// before, or to a new one. If none is due, returns when the next one is.
    pub(super) fn make_place(&mut self, is_again: bool, now: Instant) -> Result<(), Instant> {
        let only_failed_ones = is_again && self.failed_ones_are_full();
        let staying = self
            .running
            .values_mut()
            .filter(|running| !running.is_leaving && (running.is_again || !only_failed_ones));
        let due = staying.filter_map(|running| Some((running.trial.gives_way_at?, running)));
        match due.min_by_key(|(at, _)| *at) {
            Some((at, running)) if at <= now => {
                running.is_leaving = true;
                running.trial.leaves.notify_one();
                Ok(())
            }
            Some((at, _)) => Err(at),
            None => Err(now + FIRST_PATIENCE),
        }
    }

    /// The wait of a message of `job` for which there is no place before `earliest`.
    pub(super) fn next_wait(
        &mut self,
        job: Option<JobId>,
        earliest: Instant,
        now: Instant,
    ) -> Duration {
        let places = u32::try_from(self.most).unwrap_or(u32::MAX);
        let spacing = FIRST_PATIENCE / places;
        self.schedule
            .next_wait(job, spacing, earliest, LONGEST_AWAY, now)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn is_asked_to_leave(trial: &Trial) -> bool {
        trial.leaves.notified().now_or_never().is_some()
    }

    #[test]
    fn the_trial_that_is_due_longest_gives_way_and_no_other() {
        let (mut trials, now) = (Trials::new(3), Instant::now());
        let last = trials.begin(0, false, now);
        let again = trials.begin(1, true, now);
        let new = trials.begin(0, true, now + Duration::from_secs(1));
        assert!(!trials.has_place(false));
        let due = trials.make_place(false, now);
        assert_eq!(due, Err(now + Duration::from_secs(3)));
        assert_eq!(trials.make_place(false, now + 2 * FIRST_PATIENCE), Ok(()));
        assert!(is_asked_to_leave(&new));
        assert_eq!(trials.make_place(false, now + 2 * FIRST_PATIENCE), Ok(()));
        assert!(is_asked_to_leave(&again));
        let due = trials.make_place(false, now + 100 * FIRST_PATIENCE);
        assert!(due.is_err() && !is_asked_to_leave(&last));
        trials.end(&new);
        assert!(trials.has_place(false));
    }

    #[test]
    fn a_server_that_was_cut_short_is_known_until_it_has_answered() {
        let mut trials = Trials::new(2);
        assert_eq!(trials.earlier("a", 0), 0);
        trials.cut_short("a");
        trials.cut_short("a");
        assert_eq!(trials.earlier("a", 0), 2);
        assert_eq!(trials.earlier("a", 3), 3);
        assert_eq!(trials.earlier("b", 0), 0);
        trials.succeeded("a");
        assert_eq!(trials.earlier("a", 0), 0);
    }

    #[test]
    fn servers_that_have_failed_have_half_of_the_places() {
        let (mut trials, now) = (Trials::new(4), Instant::now());
        trials.begin(2, true, now);
        trials.begin(1, true, now);
        assert!(!trials.has_place(true));
        assert!(trials.has_place(false));
        let new = trials.begin(0, true, now);
        let due = trials.make_place(true, now + FIRST_PATIENCE);
        assert_eq!(due, Err(now + 2 * FIRST_PATIENCE));
        assert!(!is_asked_to_leave(&new), "it is not one of theirs");
    }
}
