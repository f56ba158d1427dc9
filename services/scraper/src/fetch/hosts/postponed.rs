//! How many of a site's messages come again later.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Times that are closer to each other than this are counted as one, so that little is remembered
/// of many messages.
const GRAIN: Duration = Duration::from_millis(250);

/// The messages that were sent away and whose time has not come.
#[derive(Debug, Default)]
pub(super) struct Postponed {
    /// How many messages come again at about each time.
    times: BTreeMap<Instant, u32>,
    /// How many these are in all.
    count: u32,
}

impl Postponed {
    /// One more comes again at this time.
    pub(super) fn add(&mut self, at: Instant) {
        self.count += 1;
        let near = self.times.range_mut(at - GRAIN..at + GRAIN).next();
        match near {
            Some((_, messages)) => *messages += 1,
            None => {
                self.times.insert(at, 1);
            }
        }
    }

    /// How many come again after `now`.
    pub(super) fn count(&mut self, now: Instant) -> u32 {
        while let Some(first) = self.times.first_entry()
            && *first.key() <= now
        {
            self.count -= first.remove();
        }
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn messages_are_counted_until_their_time_comes() {
        let (mut postponed, now) = (Postponed::default(), Instant::now());
        for message in 1..=1_000 {
            postponed.add(now + message * TENTH);
        }
        assert_eq!(postponed.count(now), 1_000);
        let half = postponed.count(now + 500 * TENTH);
        assert!((497..=500).contains(&half), "{half}");
        assert_eq!(postponed.count(now + 1_000 * TENTH), 0);
    }

    #[test]
    fn few_times_are_remembered_of_many_messages() {
        let (mut postponed, now) = (Postponed::default(), Instant::now());
        for message in 1..=60_000 {
            postponed.add(now + message * TENTH / 100);
        }
        assert_eq!(postponed.count(now), 60_000);
        assert!(postponed.times.len() <= 240, "{}", postponed.times.len());
    }
}
