//! Who may ask which site now, who waits for it here, and who is sent away to come again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use maskline_foundation::RetryPolicy;
use maskline_storage::{StorageError, records::Share};

use super::{
    health::{Health, Verdict},
    site::{Asker, Site, Ticket, Upkeep, Waiting},
    trials::{Trial, Trials},
};

/// How many sites are remembered. Those that are in use are never forgotten.
const MAX_SITES: usize = 4096;

/// How long a message may wait here for its turn. One that would wait longer is sent away.
pub(super) const MOMENT: Duration = Duration::from_secs(1);

/// What an asker does next.
pub(super) enum Step {
    /// Ask. It is a trial if the server is not trusted yet.
    Go { trial: Option<Trial> },
    /// Look again when something has changed, or at this time.
    Wait(Instant),
    /// Come again after this time.
    Away(Duration),
    /// Give up for this time, because the server is down.
    Down(String),
    /// The catalog can't be asked.
    Catalog(StorageError),
}

/// The state of all sites.
pub(super) struct Gate {
    /// How many messages are in hand at a time at most.
    in_hand: usize,
    policy: RetryPolicy,
    sites: HashMap<String, Site>,
    trials: Trials,
    /// How many messages wait here.
    waiting: usize,
    next_ticket: Ticket,
}

impl Gate {
    /// For a process that has so many messages in hand at most.
    pub(super) fn new(in_hand: usize, policy: RetryPolicy) -> Self {
        Self {
            in_hand: in_hand.max(1),
            policy,
            sites: HashMap::new(),
            trials: Trials::new(in_hand / 2),
            waiting: 0,
            next_ticket: 0,
        }
    }

    /// Decides what `asker` does now. `ticket` is what it was given when it began to wait.
    pub(super) fn step(
        &mut self,
        asker: &Asker,
        ticket: &mut Option<Ticket>,
        now: Instant,
    ) -> Step {
        let (in_hand, policy) = (self.in_hand, self.policy);
        let seats_are_full = self.waiting >= (in_hand / 2).max(1);
        let site = self.site(asker, now);
        site.used_at = now;
        // No site has all that this process can have in hand.
        let share = u32::try_from((in_hand - in_hand / 4).max(1)).unwrap_or(u32::MAX);
        let most = site.limit.at_a_time.min(share);
        let server = site.server(&asker.server);
        let is_on_trial = !server.is_trusted() && !asker.ignores_health;
        let failed = server.trials();
        let verdict = match asker.ignores_health {
            true => Verdict::AtMost(most),
            false => server.verdict(most, &policy, now),
        };
        let at_most = match verdict {
            Verdict::AtMost(at_most) => at_most,
            Verdict::LeftAlone(until) => return Step::Away(site.away(asker, until, now)),
            Verdict::Down(said) => return Step::Down(said),
        };
        let has_room = server.in_hand < at_most;
        let has_place = site.in_hand < most.min(site.allowance.places(now));
        site.allowance.forget_late(&asker.limit, now);
        let is_first = site.is_first(*ticket, &asker.server);
        let earlier = self.trials.earlier(&asker.server, failed);
        let needs_trial = has_room && is_on_trial && !self.trials.has_place(earlier > 0);
        if needs_trial && failed > 0 && policy.is_last(failed - 1) {
            // It counts as down also while there is no place for its next trial.
            return Step::Down(self.health(asker, now).said(now));
        }
        let site = self.site(asker, now);
        if has_room && has_place && !needs_trial && is_first && site.allowance.take_turn(now) {
            site.begin(asker, now);
            // The last trial before the server counts as down is never cut short, and neither is
            // what no message comes again for.
            let may_leave = asker.job.is_some() && !policy.is_last(earlier);
            let trial = is_on_trial.then(|| self.trials.begin(earlier, may_leave, now));
            self.forget(asker, ticket);
            return Step::Go { trial };
        }
        if let Some(error) = site.allowance.error() {
            return Step::Catalog(error.clone());
        }
        let is_to_leave = |ticket| site.waiting.get(ticket).is_none_or(|w| w.is_to_leave);
        let must_leave = match ticket {
            Some(ticket) => is_to_leave(ticket),
            None => now + site.expected_wait(&asker.server, at_most, now) > asker.patient_until,
        };
        if must_leave || now >= asker.patient_until {
            return Step::Away(site.away(asker, now, now));
        }
        let mut until = site.look_again_at(asker, now);
        if needs_trial
            && is_first
            && (ticket.is_none() || !self.trials.is_one_leaving())
            && let Err(at) = self.trials.make_place(earlier > 0, now)
        {
            if ticket.is_none() && at > asker.patient_until {
                return Step::Away(self.trials.next_wait(asker.job, at, now));
            }
            until = until.min(at);
        }
        if ticket.is_none() {
            if seats_are_full && !self.make_room(&asker.site) {
                return Step::Away(self.site(asker, now).away(asker, now, now));
            }
            *ticket = Some(self.seat(asker, now));
        }
        Step::Wait(until)
    }

    /// Takes the asker out of those who wait.
    pub(super) fn forget(&mut self, asker: &Asker, ticket: &mut Option<Ticket>) {
        let Some(ticket) = ticket.take() else { return };
        let site = self.sites.get_mut(&asker.site);
        if site.is_some_and(|site| site.waiting.remove(&ticket).is_some()) {
            self.waiting -= 1;
        }
    }

    /// Who is asking the site already waits for another turn from now on, or no more.
    pub(super) fn continues(&mut self, asker: &Asker, waits: bool, now: Instant) {
        let site = self.site(asker, now);
        site.continuing = match waits {
            true => site.continuing + 1,
            false => site.continuing.saturating_sub(1),
        };
        site.kick.notify_one();
    }

    /// Whether the turn of who continues has come, or else how long it will take at least.
    pub(super) fn another_turn(&mut self, asker: &Asker, now: Instant) -> Option<Duration> {
        let site = self.site(asker, now);
        site.allowance.forget_late(&asker.limit, now);
        if site.allowance.take_turn(now) {
            return None;
        }
        let turn = site.allowance.next_turn().or(site.allowance.far_turn(now));
        Some(turn.map_or(Duration::ZERO, |turn| turn.saturating_duration_since(now)))
    }

    /// The wait of who must come again for its next turn.
    pub(super) fn away(&mut self, asker: &Asker, now: Instant) -> Duration {
        let earliest = self.health(asker, now).not_before().unwrap_or(now);
        self.site(asker, now).away(asker, earliest, now)
    }

    /// A request has ended.
    pub(super) fn end(&mut self, asker: &Asker, trial: Option<&Trial>, now: Instant) {
        if let Some(trial) = trial {
            self.trials.end(trial);
        }
        let site = self.site(asker, now);
        site.in_hand = site.in_hand.saturating_sub(1);
        site.used_at = now;
        let server = site.server(&asker.server);
        server.in_hand = server.in_hand.saturating_sub(1);
        server.busy_since = (server.in_hand > 0).then_some(now);
        site.kick.notify_one();
    }

    pub(super) fn health(&mut self, asker: &Asker, now: Instant) -> &mut Health {
        self.site(asker, now).server(&asker.server)
    }

    /// A server has given a whole answer that took so long.
    pub(super) fn succeeded(&mut self, asker: &Asker, took: Duration, now: Instant) {
        self.trials.succeeded(&asker.server);
        self.health(asker, now).succeeded(took);
    }

    /// A server has taken longer than others could wait. Returns after which time whoever asked
    /// it may come again.
    pub(super) fn cut_short(&mut self, asker: &Asker, now: Instant) -> Duration {
        self.trials.cut_short(&asker.server);
        self.away(asker, now)
    }

    pub(super) fn policy(&self) -> RetryPolicy {
        self.policy
    }

    /// Whether the site needs a keeper. It counts as having one from now on.
    pub(super) fn needs_keeper(&mut self, asker: &Asker, now: Instant) -> bool {
        let site = self.site(asker, now);
        site.kick.notify_one();
        !std::mem::replace(&mut site.has_keeper, true)
    }

    /// What the keeper of a site does next.
    pub(super) fn upkeep(&mut self, key: &str, now: Instant) -> Upkeep {
        let Some(site) = self.sites.get_mut(key) else {
            return Upkeep::End;
        };
        site.upkeep(now)
    }

    /// Takes what the catalog gave, or its error. `wanted` are the places and turns that were
    /// asked for at `asked`.
    pub(super) fn given(
        &mut self,
        key: &str,
        share: Result<Share, StorageError>,
        wanted: (u32, u32),
        asked: Instant,
        now: Instant,
    ) {
        let Some(site) = self.sites.get_mut(key) else {
            return;
        };
        match share {
            Ok(share) => site.allowance.given(share, &site.limit, wanted, asked, now),
            // Places that can't be given back are free after a while by themselves.
            Err(error) => site.allowance.failed(error, now),
        }
    }

    fn site(&mut self, asker: &Asker, now: Instant) -> &mut Site {
        if !self.sites.contains_key(&asker.site) && self.sites.len() >= MAX_SITES {
            self.sites.retain(|_, site| site.is_in_use(now));
            if self.sites.len() >= MAX_SITES {
                self.sites.retain(|_, site| site.is_busy());
            }
        }
        let site = || Site::new(asker.limit, now);
        self.sites.entry(asker.site.clone()).or_insert_with(site)
    }

    /// Gives the asker a seat.
    fn seat(&mut self, asker: &Asker, now: Instant) -> Ticket {
        self.next_ticket += 1;
        self.waiting += 1;
        let ticket = self.next_ticket;
        let waiting = Waiting {
            job: asker.job,
            server: asker.server.clone(),
            is_to_leave: false,
        };
        self.site(asker, now).waiting.insert(ticket, waiting);
        ticket
    }

    /// Asks the last one of the site for which most wait to leave. Returns `false` if that is
    /// the site `of` who would take its seat.
    fn make_room(&mut self, of: &str) -> bool {
        let staying = |site: &Site| site.waiting.values().filter(|w| !w.is_to_leave).count();
        let longest = self.sites.iter_mut().max_by_key(|(_, site)| staying(site));
        let Some((key, site)) = longest else {
            return false;
        };
        if key == of {
            return false;
        }
        let staying = site.waiting.values_mut().rev().find(|w| !w.is_to_leave);
        staying.is_some_and(|last| {
            last.is_to_leave = true;
            true
        })
    }
}

#[cfg(test)]
mod tests;
