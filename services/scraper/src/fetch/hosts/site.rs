//! One site: its limit and its share of it, its servers, and who waits for it here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use maskline_messages::JobId;
use maskline_storage::records::ShareLimit;
use tokio::sync::Notify;

use super::{allowance::Allowance, health::Health, postponed::Postponed, schedule::Schedule};

/// How many servers of a site are remembered. Those that are in use are never forgotten.
const MAX_SERVERS: usize = 256;

/// The longest time for which a message is sent away, and that for a site whose server fails,
/// which may soon be back or given up.
pub(super) const LONGEST_AWAY: Duration = Duration::from_secs(30 * 60);
const LONGEST_FAILING: Duration = Duration::from_secs(3 * 60);

/// How long a site is kept after its last request, before its places are given back.
pub(super) const IDLE: Duration = Duration::from_secs(1);

/// The most turns that are taken ahead of the messages that need them, and for how long ahead.
const TURNS_AHEAD: u32 = 64;
const AHEAD: Duration = Duration::from_millis(50);

/// The number by which a message that waits is known. Numbers grow.
pub(super) type Ticket = u64;

/// Whoever wants to ask a site something.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    /// The key under which all processes share the site.
    pub(super) site: String,
    pub(super) limit: ShareLimit,
    /// Host and port.
    pub(super) server: String,
    pub(super) job: Option<JobId>,
    /// It goes there however the server has answered lately.
    pub(super) ignores_health: bool,
    /// The time until which it waits here.
    pub(super) patient_until: Instant,
}

/// What a site's keeper does next.
pub(super) enum Upkeep {
    /// Ask the catalog for `places` and `turns`, with `in_hand` requests under way and `away`
    /// messages that come again later.
    Ask {
        limit: ShareLimit,
        in_hand: u32,
        places: u32,
        turns: u32,
        away: u32,
    },
    /// Nothing until something changes, or until this time.
    Rest(Instant, Arc<Notify>),
    /// Nobody needs the site any more.
    End,
}

/// The state of one site.
pub(super) struct Site {
    pub(super) limit: ShareLimit,
    pub(super) in_hand: u32,
    pub(super) allowance: Allowance,
    pub(super) waiting: BTreeMap<Ticket, Waiting>,
    /// How many visits wait for another turn.
    pub(super) continuing: u32,
    last_job: Option<JobId>,
    schedule: Schedule,
    postponed: Postponed,
    servers: HashMap<String, Health>,
    pub(super) used_at: Instant,
    pub(super) has_keeper: bool,
    /// Wakes the keeper.
    pub(super) kick: Arc<Notify>,
}

/// Someone who waits here.
pub(super) struct Waiting {
    pub(super) job: Option<JobId>,
    pub(super) server: String,
    /// Others need its seat.
    pub(super) is_to_leave: bool,
}

impl Site {
    pub(super) fn new(limit: ShareLimit, now: Instant) -> Self {
        Self {
            limit,
            in_hand: 0,
            allowance: Allowance::default(),
            waiting: BTreeMap::new(),
            continuing: 0,
            last_job: None,
            schedule: Schedule::default(),
            postponed: Postponed::default(),
            servers: HashMap::new(),
            used_at: now,
            has_keeper: false,
            kick: Arc::default(),
        }
    }

    /// Whether someone asks the site, waits for it or keeps it.
    pub(super) fn is_busy(&self) -> bool {
        self.has_keeper || self.in_hand > 0 || !self.waiting.is_empty()
    }

    /// Whether the site must be remembered.
    pub(super) fn is_in_use(&self, now: Instant) -> bool {
        self.is_busy() || now < self.used_at + LONGEST_FAILING
    }

    /// What is known of a server of the site.
    pub(super) fn server(&mut self, name: &str) -> &mut Health {
        if !self.servers.contains_key(name) && self.servers.len() >= MAX_SERVERS {
            self.servers.retain(|_, server| server.in_hand > 0);
        }
        self.servers.entry(name.to_owned()).or_default()
    }

    /// A request to the site begins.
    pub(super) fn begin(&mut self, asker: &Asker, now: Instant) {
        self.in_hand += 1;
        self.last_job = asker.job;
        let server = self.server(&asker.server);
        server.in_hand += 1;
        server.busy_since.get_or_insert(now);
    }

    /// What the site's keeper does next.
    pub(super) fn upkeep(&mut self, now: Instant) -> Upkeep {
        self.allowance.forget_late(&self.limit, now);
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let places = self
            .limit
            .at_a_time
            .min(self.in_hand.saturating_add(waiting));
        let is_idle = self.in_hand == 0 && waiting == 0;
        let waiting = waiting.saturating_add(self.continuing);
        let (limit, in_hand) = (self.limit, self.in_hand);
        let away = self.postponed.count(now);
        if is_idle && now >= self.used_at + IDLE {
            if self.allowance.places(now) == 0 {
                // Who comes after this starts another keeper.
                self.has_keeper = false;
                return Upkeep::End;
            }
            return Upkeep::Ask {
                limit,
                in_hand,
                places: 0,
                turns: 0,
                away,
            };
        }
        let turns = u32::try_from(self.allowance.turns()).unwrap_or(u32::MAX);
        let is_missing = self.allowance.places(now) < places || turns < waiting;
        let at = self.allowance.ask_at(is_missing, now);
        if at > now {
            let at = if is_idle { self.used_at + IDLE } else { at };
            return Upkeep::Rest(at, self.kick.clone());
        }
        let interval = limit.interval.as_nanos().max(1);
        let ahead = u32::try_from(AHEAD.as_nanos() / interval).unwrap_or(u32::MAX);
        let wanted = waiting.saturating_add(ahead.min(TURNS_AHEAD));
        Upkeep::Ask {
            limit,
            in_hand,
            places: places.max(1),
            turns: wanted.saturating_sub(turns),
            away,
        }
    }

    /// Whether it is the turn of who has `ticket`, among those who wait for the same server.
    /// Jobs take turns.
    pub(super) fn is_first(&self, ticket: Option<Ticket>, server: &str) -> bool {
        let mut waiting = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.server == server && !waiting.is_to_leave);
        let of_another_job = waiting
            .clone()
            .find(|(_, waiting)| waiting.job != self.last_job);
        let first = of_another_job.or_else(|| waiting.next());
        first.map(|(ticket, _)| *ticket) == ticket
    }

    /// The time from one request to the next that the site's limit allows this process.
    fn interval(&self) -> Duration {
        self.limit.interval * self.allowance.processes()
    }

    /// The time from one answer of a server to the next, if it has `at_most` requests at a time.
    fn takes(&mut self, server: &str, at_most: u32, now: Instant) -> Duration {
        let server = self.server(server);
        let busy_for = match (server.is_trusted(), server.busy_since) {
            (false, Some(since)) => now.saturating_duration_since(since),
            _ => Duration::ZERO,
        };
        server.typical().max(busy_for) / at_most.max(1)
    }

    /// How long one who comes now would wait here.
    pub(super) fn expected_wait(&mut self, name: &str, at_most: u32, now: Instant) -> Duration {
        let before = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let turn = self.allowance.far_turn(now);
        let turn = turn.map_or(Duration::ZERO, |turn| turn - now);
        let is_full = self.server(name).in_hand >= at_most;
        let answers = match is_full {
            true => self
                .takes(name, at_most, now)
                .saturating_mul(before.saturating_add(1)),
            false => Duration::ZERO,
        };
        let turns = self.interval().saturating_mul(before);
        turn.max(turns).max(answers)
    }

    /// The time at which an asker that waits looks again, if nothing changes before.
    pub(super) fn look_again_at(&self, asker: &Asker, now: Instant) -> Instant {
        let turn = self.allowance.next_turn().filter(|turn| *turn > now);
        turn.map_or(asker.patient_until, |turn| turn.min(asker.patient_until))
    }

    /// The time from one message that this process sends away to the next. The process has the
    /// part of the site's pace that it has of all messages away, and at least an equal part. So the
    /// one to which the broker deals most is through as early as if they were dealt evenly. Together
    /// they may come up to twice as fast as the site allows, and some are sent away again. The same
    /// happens while others have more away than the catalog has told this process.
    fn spacing(&mut self, now: Instant) -> Duration {
        let own = self.postponed.count(now).saturating_add(1);
        let all = own.saturating_add(self.allowance.away_elsewhere());
        let spacing = self.limit.interval.saturating_mul(all) / own;
        spacing.min(self.interval())
    }

    /// The wait of who is sent away and may come again at `earliest`.
    pub(super) fn away(&mut self, asker: &Asker, earliest: Instant, now: Instant) -> Duration {
        let at_most = match self.server(&asker.server).is_trusted() {
            true => self.limit.at_a_time,
            false => 1,
        };
        let takes = self.takes(&asker.server, at_most, now);
        let spacing = self.spacing(now).max(takes);
        let longest = match self.server(&asker.server).is_failing() {
            true => LONGEST_FAILING,
            false => LONGEST_AWAY,
        };
        let earliest = earliest.max(self.allowance.far_turn(now).unwrap_or(now));
        let wait = self
            .schedule
            .next_wait(asker.job, spacing, earliest, longest, now);
        self.postponed.add(now + wait);
        wait
    }
}
