//! What this process may ask of a site until it asks the catalog again: places and turns.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use maskline_storage::{
    StorageError,
    records::{PLACES_LAST, Share, ShareLimit},
};

/// How long after its time a turn can still be used. Turns that nobody needed in time are lost,
/// so that they are not all used at once.
const LATE: Duration = Duration::from_millis(250);

/// How often places are renewed, and how often while other processes want some.
const RENEWED_EVERY: Duration = Duration::from_secs(1);
const SHARED_EVERY: Duration = Duration::from_millis(500);

/// The least time between two questions to the catalog about one site.
const GAP: Duration = Duration::from_millis(2);

/// When a process that was refused a place asks again.
const REFUSED_FOR: Duration = Duration::from_millis(200);

/// When the catalog is asked again after an error.
const AWAY_FOR: Duration = Duration::from_secs(1);

/// What this process was given.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    places: u32,
    /// The places are not ours any more from then on.
    until: Option<Instant>,
    turns: VecDeque<Instant>,
    /// The catalog is not asked before this time.
    ask_from: Option<Instant>,
    asked_at: Option<Instant>,
    /// The time of the next turn that there is for anybody, where it is far away.
    far_turn: Option<Instant>,
    /// How many processes share the site.
    processes: u32,
    /// How many messages the other ones have away.
    away_elsewhere: u32,
    error: Option<StorageError>,
}

impl Allowance {
    pub(super) fn places(&self, now: Instant) -> u32 {
        match self.until {
            Some(until) if until > now => self.places,
            _ => 0,
        }
    }

    /// When the next turn is, if there is one.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        self.turns.front().copied()
    }

    pub(super) fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Takes a turn whose time has come.
    pub(super) fn take_turn(&mut self, now: Instant) -> bool {
        let is_due = self.next_turn().is_some_and(|turn| turn <= now);
        is_due && self.turns.pop_front().is_some()
    }

    /// Forgets the turns that nobody used in time.
    pub(super) fn forget_late(&mut self, limit: &ShareLimit, now: Instant) {
        let late = LATE.max(limit.interval / 4);
        while self.next_turn().is_some_and(|turn| turn + late < now) {
            self.turns.pop_front();
        }
    }

    /// The time before which nobody has a turn, if it is far away.
    pub(super) fn far_turn(&self, now: Instant) -> Option<Instant> {
        self.far_turn.filter(|turn| *turn > now)
    }

    pub(super) fn processes(&self) -> u32 {
        self.processes.max(1)
    }

    pub(super) fn away_elsewhere(&self) -> u32 {
        self.away_elsewhere
    }

    /// Why the catalog could not be asked last.
    pub(super) fn error(&self) -> Option<&StorageError> {
        self.error.as_ref()
    }

    /// When the catalog should be asked. Something `is_missing` if there is work for which
    /// places or turns are missing.
    pub(super) fn ask_at(&self, is_missing: bool, now: Instant) -> Instant {
        let Some(asked) = self.asked_at else {
            return now;
        };
        if is_missing {
            return self.ask_from.map_or(now, |from| from.max(asked + GAP));
        }
        let every = match self.processes {
            0 | 1 => RENEWED_EVERY,
            _ => SHARED_EVERY,
        };
        asked + every
    }

    /// `wanted` are the places and turns that were asked for at `asked`.
    pub(super) fn given(
        &mut self,
        share: Share,
        limit: &ShareLimit,
        wanted: (u32, u32),
        asked: Instant,
        now: Instant,
    ) {
        self.error = None;
        (self.places, self.until) = (share.places, Some(asked + PLACES_LAST));
        (self.asked_at, self.processes) = (Some(asked), share.processes);
        self.away_elsewhere = share.away_elsewhere;
        let first = asked.max(now) + share.first;
        self.turns
            .extend((0..share.turns).map(|turn| first + limit.interval.saturating_mul(turn)));
        let refused_turns = share.turns == 0 && wanted.1 > 0;
        self.far_turn = refused_turns.then_some(first);
        self.ask_from = Some(match () {
            // A moment before the turn it is ours.
            () if refused_turns => {
                let moment = share.first.min(LATE * 2) / 2;
                now.max(first - moment).max(now + GAP)
            }
            () if share.places < wanted.0 && share.places < limit.at_a_time => now + REFUSED_FOR,
            () => now,
        });
    }

    pub(super) fn failed(&mut self, error: StorageError, now: Instant) {
        self.error = Some(error);
        (self.asked_at, self.ask_from) = (Some(now), Some(now + AWAY_FOR));
    }
}
