//! What one process may do of something that all processes share: how many at a time, and at
//! which times.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What all processes together may do, such as asking one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareLimit {
    /// How many may be in hand at a time.
    pub at_a_time: u32,
    /// The time from one turn to the next.
    pub interval: Duration,
}

/// What one process asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRequest {
    /// The name of the process, which no other process has.
    pub process: String,
    /// How many it has in hand now. They are never taken from it while it asks in time.
    pub in_hand: u32,
    /// How many it would have in hand, if it could. With zero it gives its places back.
    pub places: u32,
    /// How many turns it could use within [`HORIZON`].
    pub turns: u32,
    /// How many messages it has sent away, which come again later.
    pub away: u32,
}

/// What one process may do until it asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many it may have in hand. It must ask again before [`PLACES_LAST`] is over.
    pub places: u32,
    /// How many turns it has.
    pub turns: u32,
    /// The time from now to the first turn, or if it has none, until it should ask again.
    pub first: Duration,
    /// How many processes want a part of it now, this one included.
    pub processes: u32,
    /// How many messages the other ones have sent away, by what each said when it asked last.
    pub away_elsewhere: u32,
}

/// How far ahead turns are given. A process that dies leaves no more of them unused.
pub const HORIZON: Duration = Duration::from_secs(1);

/// While several processes want turns, each is given so many at once that they last this long, or
/// one. A process with few places could not use more in a row in time.
const SLICE: Duration = Duration::from_millis(100);

/// How long places stay a process's own when it is not heard from. So those of a process that
/// was killed are free again after this time.
pub const PLACES_LAST: Duration = Duration::from_secs(10);

/// How long a process counts as wanting a part after it asked in vain.
const WANTING_LASTS: u64 = 3_000;

/// How many processes a state remembers.
const MAX_PROCESSES: usize = 256;

/// Who has what. Times are in milliseconds since the Unix epoch unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShareState {
    /// The time of the next free turn, in microseconds.
    next_turn: u64,
    processes: Vec<Holder>,
}

/// A process that has places, or wants some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    name: String,
    places: u32,
    wanted: u32,
    /// The time of the last turn that it was given, in microseconds. States that were written
    /// before this was kept are without it.
    #[serde(default)]
    last_turn: u64,
    /// How many messages it had away when it asked last. They are forgotten with a process that
    /// gives its places back. Then messages of the others may come too early, and are sent away
    /// again, which costs little.
    #[serde(default)]
    away: u32,
    /// From this time on it counts no more.
    until: u64,
}

impl ShareState {
    /// Gives a process its part. No turn lies before `not_before`.
    pub(super) fn give(
        &mut self,
        limit: &ShareLimit,
        request: &ShareRequest,
        now: u64,
        not_before: u64,
    ) -> Share {
        let places = self.places(limit, request, now);
        let wanting = self.processes.iter().filter(|holder| holder.wanted > 0);
        let processes = u32::try_from(wanting.count()).unwrap_or(u32::MAX).max(1);
        let others = self.processes.iter().filter(|h| h.name != request.process);
        let away_elsewhere = others.map(|h| h.away).fold(0, u32::saturating_add);
        let (turns, first) = self.turns(limit, request, processes, now, not_before);
        Share {
            places,
            turns,
            first,
            processes,
            away_elsewhere,
        }
    }

    /// The time from which on it says nothing any more.
    pub(super) fn idle_from(&self) -> u64 {
        let until = self.processes.iter().map(|holder| holder.until);
        until.fold(self.next_turn / 1_000, u64::max)
    }

    /// Sets all times back by `ahead` milliseconds.
    pub(super) fn set_back(&mut self, ahead: u64) {
        self.next_turn = self.next_turn.saturating_sub(ahead.saturating_mul(1_000));
        for holder in &mut self.processes {
            holder.until = holder.until.saturating_sub(ahead);
            holder.last_turn = holder.last_turn.saturating_sub(ahead.saturating_mul(1_000));
        }
    }

    /// Each process that wants places has about the same number of them. What a process has in
    /// hand is left to it, so that it comes to its part when others finish.
    fn places(&mut self, limit: &ShareLimit, request: &ShareRequest, now: u64) -> u32 {
        self.processes.retain(|holder| holder.until > now);
        let own = self
            .processes
            .iter()
            .position(|h| h.name == request.process);
        let own = own.map(|own| self.processes.swap_remove(own));
        let (had, last_turn) = own.map_or((0, 0), |own| (own.places, own.last_turn));
        let taken: u32 = self.processes.iter().map(|holder| holder.places).sum();
        let wanted: u32 = self.processes.iter().map(|holder| holder.wanted).sum();
        let wanting = self.processes.iter().filter(|holder| holder.wanted > 0);
        let wanting = u32::try_from(wanting.count()).unwrap_or(u32::MAX);
        let free = limit.at_a_time.saturating_sub(taken);
        let fair = match wanted.saturating_add(request.places) <= limit.at_a_time {
            true => request.places,
            false => (limit.at_a_time / wanting.saturating_add(1)).max(1),
        };
        let in_hand = request.in_hand.min(had);
        let places = request.places.min(fair).min(free).max(in_hand);
        let lasts = match places {
            0 => WANTING_LASTS,
            _ => PLACES_LAST.as_millis() as u64,
        };
        if request.places.max(places) > 0 && self.processes.len() < MAX_PROCESSES {
            self.processes.push(Holder {
                name: request.process.clone(),
                places,
                wanted: request.places,
                last_turn,
                away: request.away,
                until: now.saturating_add(lasts),
            });
            return places;
        }
        0
    }

    /// Turns are given one after another, as they are asked for. So that the first to ask does not
    /// have them all, one of several processes gets no more while its own lie ahead.
    fn turns(
        &mut self,
        limit: &ShareLimit,
        request: &ShareRequest,
        processes: u32,
        now: u64,
        not_before: u64,
    ) -> (u32, Duration) {
        let interval = u64::try_from(limit.interval.as_micros()).unwrap_or(u64::MAX / 4);
        let now = now.saturating_mul(1_000);
        let slice = SLICE.as_micros() as u64;
        let mut own = self.processes.iter_mut();
        let own = own.find(|holder| holder.name == request.process);
        let last_turn = own.as_ref().map_or(0, |own| own.last_turn);
        if processes > 1 && last_turn > now + slice {
            return (0, Duration::from_micros(last_turn - now));
        }
        let first = self
            .next_turn
            .max(now)
            .max(not_before.saturating_mul(1_000));
        let horizon = now + HORIZON.as_micros() as u64;
        let wait = Duration::from_micros(first - now);
        if first > horizon || request.turns == 0 {
            return (0, wait);
        }
        let most = match interval {
            0 => u64::from(request.turns),
            _ if processes > 1 => (slice / interval).max(1),
            _ => (horizon - first) / interval + 1,
        };
        let turns = most.min(request.turns.into());
        self.next_turn = first.saturating_add(turns.saturating_mul(interval));
        if let Some(own) = own {
            own.last_turn = self.next_turn.saturating_sub(interval);
        }
        (u32::try_from(turns).unwrap_or(request.turns), wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    fn limit(at_a_time: u32, interval: u64) -> ShareLimit {
        let interval = Duration::from_millis(interval);
        ShareLimit {
            at_a_time,
            interval,
        }
    }

    fn request(process: &str, in_hand: u32, places: u32, turns: u32) -> ShareRequest {
        let process = process.to_owned();
        ShareRequest {
            process,
            in_hand,
            places,
            turns,
            away: 0,
        }
    }

    fn give(state: &mut ShareState, limit: &ShareLimit, request: &ShareRequest, now: u64) -> Share {
        state.give(limit, request, now, 0)
    }

    #[test]
    fn one_process_alone_has_all_places_and_gives_its_part_up_when_another_comes() {
        let (mut state, limit) = (ShareState::default(), limit(4, 0));
        let a = give(&mut state, &limit, &request("a", 0, 9, 0), NOW);
        assert_eq!((a.places, a.processes), (4, 1));
        let b = give(&mut state, &limit, &request("b", 0, 9, 0), NOW);
        assert_eq!((b.places, b.processes), (0, 2), "nothing is free yet");
        let a = give(&mut state, &limit, &request("a", 3, 9, 0), NOW + 1);
        assert_eq!(a.places, 3, "what is in hand is left to it");
        let b = give(&mut state, &limit, &request("b", 0, 9, 0), NOW + 2);
        assert_eq!(b.places, 1);
        let a = give(&mut state, &limit, &request("a", 1, 9, 0), NOW + 3);
        assert_eq!(a.places, 2);
        let b = give(&mut state, &limit, &request("b", 1, 9, 0), NOW + 4);
        assert_eq!(b.places, 2);
    }

    #[test]
    fn who_wants_less_leaves_the_rest_to_others() {
        let (mut state, limit) = (ShareState::default(), limit(4, 0));
        give(&mut state, &limit, &request("a", 0, 1, 0), NOW);
        let b = give(&mut state, &limit, &request("b", 0, 3, 0), NOW);
        assert_eq!(b.places, 3);
    }

    #[test]
    fn places_of_a_process_that_is_not_heard_from_are_free_again_after_a_while() {
        let (mut state, limit) = (ShareState::default(), limit(2, 0));
        give(&mut state, &limit, &request("killed", 0, 2, 0), NOW);
        let lasts = PLACES_LAST.as_millis() as u64;
        let b = give(&mut state, &limit, &request("b", 0, 2, 0), NOW + lasts - 1);
        assert_eq!(b.places, 0);
        let b = give(&mut state, &limit, &request("b", 0, 2, 0), NOW + lasts);
        assert_eq!(b.places, 2);
        let none = give(&mut state, &limit, &request("b", 0, 0, 0), NOW + lasts);
        assert_eq!(none.places, 0);
        let c = give(&mut state, &limit, &request("c", 0, 2, 0), NOW + lasts);
        assert_eq!((c.places, c.processes), (2, 1), "they were given back");
    }

    #[test]
    fn a_process_is_told_how_many_messages_the_others_have_away() {
        let (mut state, limit) = (ShareState::default(), limit(4, 0));
        let mut ask = |process: &str, places: u32, away: u32, now: u64| {
            let request = ShareRequest {
                away,
                ..request(process, 0, places, 0)
            };
            give(&mut state, &limit, &request, now).away_elsewhere
        };
        assert_eq!(ask("a", 1, 7, NOW), 0, "its own do not count");
        assert_eq!(ask("b", 1, 5, NOW), 7);
        assert_eq!(ask("c", 1, 0, NOW), 12);
        assert_eq!(ask("a", 1, 6, NOW + 1), 5);
        let lasts = PLACES_LAST.as_millis() as u64;
        let from_a = ask("c", 1, 0, NOW + lasts);
        assert_eq!(from_a, 6, "the other one was not heard from for long");
        ask("a", 0, 6, NOW + lasts);
        let none = ask("c", 1, 0, NOW + lasts);
        assert_eq!(none, 0, "it has given its places back");
    }

    #[test]
    fn no_two_turns_are_closer_than_the_interval_whoever_has_them() {
        let (mut state, limit) = (ShareState::default(), limit(9, 100));
        let (mut now, mut turns) = (NOW * 1_000, vec![]);
        for round in 0..200_u32 {
            let process = ["a", "b", "c", "d"][(round % 4) as usize];
            let asked = request(process, 0, 1, 1 + round % 5);
            let share = give(&mut state, &limit, &asked, now / 1_000);
            let first = now / 1_000 * 1_000 + share.first.as_micros() as u64;
            turns.extend((0..share.turns).map(|turn| first + u64::from(turn) * 100_000));
            now += 37_000;
        }
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] >= 100_000));
        let seconds = (now - NOW * 1_000) / 1_000_000;
        let expected = usize::try_from(seconds * 10).unwrap();
        assert!(
            turns.len() >= expected,
            "{} turns in {seconds} s",
            turns.len()
        );
    }

    #[test]
    fn several_processes_take_turns_in_short_rows_and_one_alone_takes_all() {
        let (mut state, limit) = (ShareState::default(), limit(4, 20));
        let alone = give(&mut state, &limit, &request("a", 0, 4, 32), NOW);
        assert_eq!(alone.turns, 32);
        let now = NOW + 640;
        let b = give(&mut state, &limit, &request("b", 0, 4, 32), now);
        assert_eq!((b.turns, b.first), (5, Duration::ZERO));
        let a = give(&mut state, &limit, &request("a", 0, 4, 32), now);
        assert_eq!((a.turns, a.first), (5, Duration::from_millis(100)));
        let b = give(&mut state, &limit, &request("b", 0, 4, 32), now);
        assert_eq!((b.turns, b.first), (5, Duration::from_millis(200)));
        let b = give(&mut state, &limit, &request("b", 0, 4, 32), now);
        assert_eq!((b.turns, b.first), (0, Duration::from_millis(280)));
        let b = give(&mut state, &limit, &request("b", 0, 4, 32), now + 180);
        assert_eq!((b.turns, b.first), (5, Duration::from_millis(120)));
    }

    #[test]
    fn turns_are_given_a_moment_ahead_and_then_the_wait_is_named() {
        let (mut state, limit) = (ShareState::default(), limit(9, 6_000));
        let first = give(&mut state, &limit, &request("a", 0, 1, 5), NOW);
        assert_eq!((first.turns, first.first), (1, Duration::ZERO));
        let second = give(&mut state, &limit, &request("b", 0, 1, 5), NOW + 1_000);
        assert_eq!((second.turns, second.first), (0, Duration::from_secs(5)));
        let held_off = state.give(&limit, &request("b", 0, 1, 5), NOW, NOW + 60_000);
        assert_eq!(held_off.first, Duration::from_secs(60));
    }
}
