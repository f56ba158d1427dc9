//! How often something may be done by all processes together, and the state from which they
//! tell whether it may be done now.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use super::share::{Share, ShareLimit, ShareRequest, ShareState};

/// How often something may be done. All of its conditions hold at the same time. One without
/// any condition grants every turn, unless the key is held off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota {
    windows: Vec<Window>,
    interval: Duration,
}

/// At most `most` turns in any period of this length, wherever it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    most: NonZeroU32,
    length: Duration,
}

impl Quota {
    /// Grants at most `most` turns in any period of this length, too.
    #[must_use]
    pub fn at_most(mut self, most: NonZeroU32, length: Duration) -> Self {
        self.windows.push(Window { most, length });
        self
    }

    /// Grants a turn at the earliest so long after the one before it.
    #[must_use]
    pub fn with_interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }
}

/// The answer to whether something may be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Granted,
    /// Not now. The caller asks again after this time. It may be told to wait again, because
    /// others ask, too.
    Wait(Duration),
}

/// The longest wait that is answered, and the longest time that a key is held off. Whoever
/// waits longer asks again in between.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// By how much the clocks of two machines may differ and count as right, in milliseconds.
const MAX_SKEW: u64 = 60_000;

/// In how many groups a window counts its turns at most. More groups would make it more exact
/// and the state larger.
const GROUPS: u64 = 64;

/// So long after a state has come to say nothing it may be forgotten, in milliseconds.
pub(crate) const KEPT_IDLE: u64 = LONGEST_WAIT.as_millis() as u64;

/// What was granted under one key. Times are milliseconds since the Unix epoch, by the clocks
/// of whoever asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuotaState {
    /// The time of the last change. Of all times here only `not_before` may be later.
    latest: u64,
    /// The last turn.
    granted: Option<u64>,
    /// No turn is granted before this time.
    not_before: u64,
    windows: Vec<WindowState>,
    /// What each process has of what they share.
    #[serde(default)]
    share: ShareState,
}

/// The turns of one window that have not left it yet, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WindowState {
    /// The window's length in milliseconds. It identifies the window, so that a quota with
    /// another number in the same time goes on with what was counted.
    length: u64,
    groups: Vec<Group>,
}

/// Turns that were granted shortly one after the other. They leave the window together, when
/// the last of them does, so that a window never grants too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    last: u64,
    turns: u32,
}

impl QuotaState {
    /// Grants a turn if the quota allows one.
    pub(crate) fn take_turn(&mut self, quota: &Quota, now: u64) -> Turn {
        let now = self.mended(now);
        let wait = self.wait(quota, now);
        if wait > 0 {
            return Turn::Wait(Duration::from_millis(wait).min(LONGEST_WAIT));
        }
        self.count(quota, now);
        Turn::Granted
    }

    /// Gives a process its part of what all share.
    pub(crate) fn share(&mut self, limit: &ShareLimit, request: &ShareRequest, now: u64) -> Share {
        let now = self.mended(now);
        self.latest = now;
        self.share.give(limit, request, now, self.not_before)
    }

    /// Grants nothing for `pause`.
    pub(crate) fn hold_off(&mut self, pause: Duration, now: u64) {
        let now = self.mended(now);
        let until = now.saturating_add(millis(pause.min(LONGEST_WAIT)));
        self.latest = now;
        self.not_before = self.not_before.max(until);
    }

    /// The time from which on the state says nothing any more, apart from the interval.
    pub(crate) fn idle_from(&self) -> u64 {
        let left = self.windows.iter().filter_map(|window| {
            let last = window.groups.last()?.last;
            Some(last.saturating_add(window.length))
        });
        let shared = self.share.idle_from();
        left.fold(self.not_before.max(self.latest).max(shared), u64::max)
    }

    /// The time that counts as now. Time never goes back: a caller whose clock is a little
    /// behind is given the time of the last change. If it is further behind, one of the two
    /// clocks is wrong, and nobody knows which. Then the state is set back to the caller's
    /// time with all its distances, so that nobody waits for a time that a wrong clock named.
    fn mended(&mut self, now: u64) -> u64 {
        // MongoDB has no larger numbers, and there is room for sums.
        let now = now.min(i64::MAX as u64 / 2);
        let ahead = self.latest.saturating_sub(now);
        if ahead <= MAX_SKEW {
            return now.max(self.latest);
        }
        let set_back = |time: &mut u64| *time = time.saturating_sub(ahead);
        set_back(&mut self.latest);
        set_back(&mut self.not_before);
        self.granted.iter_mut().for_each(set_back);
        self.share.set_back(ahead);
        for group in self.windows.iter_mut().flat_map(|w| &mut w.groups) {
            set_back(&mut group.last);
        }
        now
    }

    /// The milliseconds until the quota allows a turn.
    fn wait(&self, quota: &Quota, now: u64) -> u64 {
        let after_last = self
            .granted
            .map_or(0, |last| last.saturating_add(millis(quota.interval)));
        let conditions = quota.windows.iter().map(|window| {
            let state = self.windows.iter().find(|s| s.length == window.millis());
            state.map_or(0, |state| state.has_room_at(window.most.get(), now))
        });
        let at = conditions.fold(after_last.max(self.not_before), u64::max);
        at.saturating_sub(now)
    }

    fn count(&mut self, quota: &Quota, now: u64) {
        (self.latest, self.granted) = (now, Some(now));
        // A window that this quota does not have may be another process's, and so it is kept
        // as long as it has turns.
        for window in &mut self.windows {
            window.forget_left(now);
        }
        self.windows.retain(|window| !window.groups.is_empty());
        for window in &quota.windows {
            let length = window.millis();
            if self.windows.iter().all(|state| state.length != length) {
                let groups = vec![];
                self.windows.push(WindowState { length, groups });
            }
        }
        for window in &mut self.windows {
            window.count(now);
        }
    }
}

impl Window {
    fn millis(&self) -> u64 {
        millis(self.length)
    }
}

impl WindowState {
    /// The time at which there are fewer than `most` turns in the window.
    fn has_room_at(&self, most: u32, now: u64) -> u64 {
        let leaves = |group: &Group| group.last.saturating_add(self.length);
        let inside = || self.groups.iter().filter(|group| leaves(group) > now);
        let turns: u64 = inside().map(|group| u64::from(group.turns)).sum();
        let mut too_many = (turns + 1).saturating_sub(most.into());
        let mut at = now;
        for group in inside() {
            if too_many == 0 {
                break;
            }
            too_many = too_many.saturating_sub(group.turns.into());
            at = leaves(group);
        }
        at
    }

    fn forget_left(&mut self, now: u64) {
        let length = self.length;
        self.groups
            .retain(|group| group.last.saturating_add(length) > now);
    }

    fn count(&mut self, now: u64) {
        let grain = (self.length / GROUPS).max(1);
        match self.groups.last_mut() {
            Some(group) if group.last / grain == now / grain => {
                group.last = now;
                group.turns = group.turns.saturating_add(1);
            }
            _ => self.groups.push(Group {
                last: now,
                turns: 1,
            }),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    /// A time in 2026.
    const NOW: u64 = 1_795_000_000_000;
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);

    fn at_most(most: u32, length: Duration) -> Quota {
        Quota::default().at_most(NonZeroU32::new(most).unwrap(), length)
    }

    fn of_minute_and_day() -> Quota {
        at_most(20, MINUTE).at_most(NonZeroU32::new(200).unwrap(), DAY)
    }

    /// Asks for a turn again and again, after the wait that was answered. Returns the times of
    /// the turns in the period.
    fn turns(state: &mut QuotaState, quota: &Quota, period: Duration) -> Vec<u64> {
        let (mut now, mut turns) = (NOW, vec![]);
        while now < NOW + millis(period) {
            match state.take_turn(quota, now) {
                Turn::Granted => turns.push(now),
                Turn::Wait(wait) => now += millis(wait),
            }
        }
        turns
    }

    fn most_within(turns: &[u64], length: Duration) -> usize {
        let within = |first: &u64| {
            let end = first + millis(length);
            turns.iter().filter(|t| (*first..end).contains(t)).count()
        };
        turns.iter().map(within).max().unwrap_or(0)
    }

    #[test]
    fn no_period_of_a_windows_length_has_more_turns_than_allowed() {
        let quota = of_minute_and_day();
        let turns = turns(&mut QuotaState::default(), &quota, 3 * DAY);
        assert_eq!(most_within(&turns, MINUTE), 20);
        assert_eq!(most_within(&turns, DAY), 200);
        // Nearly all that is allowed is granted.
        assert!((590..=600).contains(&turns.len()), "{}", turns.len());
    }

    #[test]
    fn callers_who_come_at_any_time_are_never_granted_too_much() {
        let quota = at_most(7, MINUTE).at_most(NonZeroU32::new(1000).unwrap(), 60 * MINUTE);
        let mut random = StdRng::seed_from_u64(7);
        let (mut state, mut now, mut granted) = (QuotaState::default(), NOW, vec![]);
        for _ in 0..50_000 {
            now += random.random_range(0..700);
            if state.take_turn(&quota, now) == Turn::Granted {
                granted.push(now);
            }
        }
        assert_eq!(most_within(&granted, MINUTE), 7);
        assert!(granted.len() > 50, "{}", granted.len());
    }

    #[test]
    fn the_interval_lies_between_any_two_turns() {
        let quota = Quota::default().with_interval(Duration::from_millis(1_100));
        let turns = turns(&mut QuotaState::default(), &quota, MINUTE);
        assert_eq!(turns.len(), 55);
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] == 1_100));
    }

    #[test]
    fn a_key_that_is_held_off_grants_nothing_until_the_time_has_come() {
        let (mut state, quota) = (QuotaState::default(), of_minute_and_day());
        state.hold_off(Duration::from_secs(90), NOW);
        state.hold_off(Duration::from_secs(5), NOW + 1_000);
        let wait = |state: &mut QuotaState, now| state.take_turn(&quota, now);
        let seconds = |seconds| Turn::Wait(Duration::from_secs(seconds));
        assert_eq!(wait(&mut state, NOW), seconds(89), "the clock went on");
        assert_eq!(wait(&mut state, NOW + 50_000), seconds(40));
        assert_eq!(wait(&mut state, NOW + 90_000), Turn::Granted);
    }

    #[test]
    fn no_wait_is_longer_than_a_day() {
        let (mut state, year) = (QuotaState::default(), 365 * DAY);
        state.hold_off(year, NOW);
        let wait = state.take_turn(&Quota::default(), NOW);
        assert_eq!(wait, Turn::Wait(LONGEST_WAIT));
        let mut state = QuotaState::default();
        assert_eq!(state.take_turn(&at_most(1, year), NOW), Turn::Granted);
        let wait = state.take_turn(&at_most(1, year), NOW);
        assert_eq!(wait, Turn::Wait(LONGEST_WAIT));
    }

    #[test]
    fn clocks_that_differ_a_little_share_one_time() {
        let (mut state, quota) = (QuotaState::default(), at_most(20, MINUTE));
        let mut granted = 0;
        for turn in 0..100 {
            // Every second caller is half a minute behind.
            let now = NOW + turn * 10 - (turn % 2) * 30_000;
            granted += u32::from(state.take_turn(&quota, now) == Turn::Granted);
        }
        assert_eq!(granted, 20);
    }

    #[test]
    fn a_state_from_the_future_is_set_back_and_still_counts() {
        let (mut state, quota) = (QuotaState::default(), at_most(20, MINUTE));
        let next_year = NOW + millis(365 * DAY);
        for turn in 0..20 {
            let granted = state.take_turn(&quota, next_year + turn);
            assert_eq!(granted, Turn::Granted);
        }
        state.hold_off(Duration::from_secs(90), next_year + 20);
        let seconds = |seconds| Turn::Wait(Duration::from_secs(seconds));
        assert_eq!(state.take_turn(&quota, NOW), seconds(90));
        assert_eq!(state.take_turn(&quota, NOW + 80_000), seconds(10));
        assert_eq!(state.take_turn(&quota, NOW + 90_000), Turn::Granted);
    }

    #[test]
    fn the_strangest_clocks_do_no_harm() {
        let (mut state, quota) = (QuotaState::default(), of_minute_and_day());
        for now in [u64::MAX, 0, NOW, 0, u64::MAX, 1, NOW] {
            state.hold_off(Duration::MAX, now);
            state.take_turn(&quota, now);
            assert!(state.idle_from() <= i64::MAX as u64, "{state:?}");
        }
        assert!(turns(&mut state, &quota, 3 * DAY).len() > 200);
    }

    #[test]
    fn the_state_stays_small_and_knows_when_it_is_idle() {
        let quota = at_most(1_000_000, DAY).at_most(NonZeroU32::new(1_000_000).unwrap(), MINUTE);
        let mut state = QuotaState::default();
        for turn in 0..10_000 {
            assert_eq!(state.take_turn(&quota, NOW + turn * 20_000), Turn::Granted);
        }
        let json = serde_json::to_string(&state).unwrap();
        assert!(json.len() < 4_000, "{} bytes", json.len());
        let last = NOW + 9_999 * 20_000;
        assert_eq!(state.idle_from(), last + millis(DAY));
    }

    #[test]
    fn another_number_in_the_same_time_goes_on_with_what_was_counted() {
        let mut state = QuotaState::default();
        for _ in 0..10 {
            assert_eq!(state.take_turn(&at_most(10, MINUTE), NOW), Turn::Granted);
        }
        let more = at_most(15, MINUTE).at_most(NonZeroU32::new(100).unwrap(), DAY);
        let granted = (0..20).filter(|_| state.take_turn(&more, NOW) == Turn::Granted);
        assert_eq!(granted.count(), 5);
        // A process that knows no window of a day counts in it all the same.
        assert_eq!(state.take_turn(&at_most(16, MINUTE), NOW), Turn::Granted);
        let of_day: u32 = state.windows[1].groups.iter().map(|g| g.turns).sum();
        assert_eq!(of_day, 6);
    }
}
