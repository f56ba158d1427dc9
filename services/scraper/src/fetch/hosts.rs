//! Politeness and fairness: when which server may be asked.
//!
//! * A site is asked no more often, and no more at a time, than its limit says, by all
//!   processes together. The limit of a site is that of a host, unless the operator or
//!   [`site_limits`](super::site_limits) says otherwise. The process takes a few turns and
//!   places at once from the catalog ([`allowance`]), so that it need not ask for each image.
//! * A server that has not answered yet is asked one thing at a time, and one that fails is left
//!   alone for longer and longer ([`health`]). All such servers together have half of what is in
//!   hand, and one that takes long gives way to others ([`trials`]).
//! * A message whose turn does not come within a moment is sent away, with a delay that lets it
//!   come when its turn does ([`schedule`]). So a slow site holds no message that others need.
//! * [`gate`] decides all this, with the state of each [`site`]. Both are without clocks and
//!   without waiting.
//!
//! RFC 9112, section 9.4, asks clients to limit their simultaneous connections to a server
//! and names no number. No RFC bounds the requests per second.

mod allowance;
mod gate;
mod health;
mod postponed;
mod schedule;
mod site;
mod trials;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::anyhow;
use maskline_foundation::{RetryPolicy, time::unix_millis};
use maskline_messages::JobId;
use maskline_storage::{catalog::Quotas, records::ShareRequest};
use parking_lot::Mutex;
use tokio::sync::Notify;
use url::Url;

use super::{error::FetchError, site_limits::SiteLimits};
use gate::{Gate, MOMENT, Step};
use site::{Asker, Ticket, Upkeep};
use trials::Trial;

/// How long a body waits for memory that others have, before it is given up for now. It is less
/// than a server may take for its whole answer.
const LONGEST_FOR_ROOM: Duration = Duration::from_secs(20);

/// How long a request that no message can be sent away for waits, such as one for a page.
const PATIENCE: Duration = Duration::from_secs(60);

/// The least time between two looks at the gate, so that a wait for a time that has just come
/// does not spin.
const TICK: Duration = Duration::from_millis(1);

/// Whoever wants to ask a server something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An image of this job. If its turn does not come soon, it comes again.
    Image(JobId),
    /// Something that waits for its turn, such as a page.
    Other,
    /// An API, whose client knows itself what to do when it fails.
    Api,
}

/// How long the next hop of a redirect waits for its turn. If it came again, it would begin with
/// the first hop.
const PATIENCE_OF_HOPS: Duration = Duration::from_secs(10);

/// Gives out permits to ask servers.
#[derive(Clone)]
pub(super) struct Hosts(Arc<Shared>);

struct Shared {
    gate: Mutex<Gate>,
    /// Something has changed at the gate.
    changed: Notify,
    quotas: Arc<dyn Quotas>,
    sites: SiteLimits,
    /// By this name the catalog knows who has places.
    process: String,
}

impl Hosts {
    /// For a process that has `in_hand` messages at a time. `policy` says after how many trials
    /// a server is down. `quotas` are where all processes share the sites.
    pub(super) fn new(
        in_hand: usize,
        policy: RetryPolicy,
        sites: SiteLimits,
        quotas: Arc<dyn Quotas>,
    ) -> Self {
        // A process may have several of these.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Shared {
            gate: Mutex::new(Gate::new(in_hand, policy)),
            changed: Notify::new(),
            quotas,
            sites,
            process: format!("{}/{number}", maskline_runtime::instance()),
        }))
    }

    /// Waits until the server of `url` may be asked. Fails if that is not soon.
    pub(super) async fn enter(
        &self,
        url: &Url,
        purpose: Purpose,
        hop: u32,
    ) -> Result<Visit, FetchError> {
        let (job, patience) = match purpose {
            Purpose::Image(job) if hop == 0 => (Some(job), MOMENT),
            Purpose::Image(job) => (Some(job), PATIENCE_OF_HOPS),
            Purpose::Other | Purpose::Api => (None, PATIENCE),
        };
        let host = url.host_str().unwrap_or_default();
        let (site, limit) = self.0.sites.of(host);
        let asker = Asker {
            site,
            limit,
            server: server(url),
            job,
            ignores_health: purpose == Purpose::Api,
            patient_until: Instant::now() + patience,
        };
        let mut seat = Seat {
            hosts: self,
            asker,
            ticket: None,
        };
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let step = {
                let mut gate = self.0.gate.lock();
                let now = Instant::now();
                let step = gate.step(&seat.asker, &mut seat.ticket, now);
                if gate.needs_keeper(&seat.asker, now) {
                    tokio::spawn(keep(self.clone(), seat.asker.site.clone()));
                }
                step
            };
            match step {
                Step::Go { trial } => {
                    // Who is next may go at once, too.
                    self.0.changed.notify_waiters();
                    return Ok(self.visit(seat.asker.clone(), trial));
                }
                Step::Wait(until) => {
                    let until = until.max(Instant::now() + TICK);
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(until.into()) => {}
                    }
                }
                Step::Away(after) => {
                    return Err(FetchError::Postponed {
                        why: format!("waiting for the turn to ask {}", seat.asker.server),
                        after,
                    });
                }
                Step::Down(said) => {
                    let server = &seat.asker.server;
                    return Err(FetchError::retry(anyhow!(
                        "{server} is not asked now: {said}"
                    )));
                }
                Step::Catalog(error) => return Err(FetchError::Store(error)),
            }
        }
    }

    fn visit(&self, asker: Asker, trial: Option<Trial>) -> Visit {
        Visit(Arc::new(Visiting {
            hosts: self.clone(),
            asker,
            trial,
            since: Instant::now(),
        }))
    }
}

/// A seat among those who wait. It is free again when this is dropped.
struct Seat<'a> {
    hosts: &'a Hosts,
    asker: Asker,
    ticket: Option<Ticket>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            let mut gate = self.hosts.0.gate.lock();
            gate.forget(&self.asker, &mut self.ticket);
            self.hosts.0.changed.notify_waiters();
        }
    }
}

/// The permit to ask a server, with one turn. The server counts as busy until all clones of it
/// are dropped.
#[derive(Clone)]
pub(super) struct Visit(Arc<Visiting>);

struct Visiting {
    hosts: Hosts,
    asker: Asker,
    trial: Option<Trial>,
    since: Instant,
}

impl Visit {
    /// Waits for the turn for another request of the same visit. Fails if it is not soon.
    pub(super) async fn another_turn(&self) -> Result<(), FetchError> {
        let Visiting { hosts, asker, .. } = &*self.0;
        let until = Instant::now() + MOMENT;
        let _continuing = Continuing::begin(self);
        loop {
            let wait = hosts.0.gate.lock().another_turn(asker, Instant::now());
            let Some(wait) = wait else { return Ok(()) };
            if Instant::now() + wait > until || Instant::now() >= until {
                let after = hosts.0.gate.lock().away(asker, Instant::now());
                return Err(FetchError::Postponed {
                    why: format!("waiting for another turn to ask {}", asker.server),
                    after,
                });
            }
            tokio::time::sleep(wait.clamp(TICK, TICK * 20)).await;
        }
    }

    /// Does a part of the visit, unless its place is needed for another server meanwhile.
    pub(super) async fn giving_way<T>(
        &self,
        asking: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let Some(trial) = &self.0.trial else {
            return asking.await;
        };
        tokio::pin!(asking);
        tokio::select! {
            biased;
            asked = &mut asking => return asked,
            () = trial.leaves.notified() => {}
        }
        match self.is_trusted() {
            // It has sent everything meanwhile.
            true => asking.await,
            false => Err(self.gives_way()),
        }
    }

    fn is_trusted(&self) -> bool {
        let mut gate = self.0.hosts.0.gate.lock();
        gate.health(&self.0.asker, Instant::now()).is_trusted()
    }

    /// Waits for bytes that others have, but not for long, and gives those that it has away then. A
    /// visit on trial ends like one that gives its place away. That of a server that is trusted is
    /// postponed: that there is no room is not the server's fault.
    pub(super) async fn wait_for_room(
        &self,
        waiting: impl Future<Output = ()>,
    ) -> Result<(), FetchError> {
        let Visiting {
            hosts,
            asker,
            trial,
            ..
        } = &*self.0;
        let Some(trial) = trial else {
            let waited = tokio::time::timeout(LONGEST_FOR_ROOM, waiting).await;
            return waited.map_err(|_| FetchError::Postponed {
                why: format!("waiting for memory for what {} sends", asker.server),
                after: hosts.0.gate.lock().away(asker, Instant::now()),
            });
        };
        let Some(until) = trial.gives_way_at else {
            waiting.await;
            return Ok(());
        };
        let waiting = tokio::time::timeout_at(until.into(), waiting);
        waiting.await.map_err(|_| self.gives_way())
    }

    /// The server has taken longer than others can wait. That is no attempt of who asked it, and
    /// it has more time when it is asked again.
    fn gives_way(&self) -> FetchError {
        self.failed("it took long while others waited", None);
        let Visiting { hosts, asker, .. } = &*self.0;
        FetchError::Postponed {
            why: format!("others waited while {} took long", asker.server),
            after: hosts.0.gate.lock().cut_short(asker, Instant::now()),
        }
    }

    /// Whether `url` leads to the same server.
    pub(super) fn is_at(&self, url: &Url) -> bool {
        self.0.asker.server == server(url)
    }

    /// The server has answered as a server should.
    pub(super) fn succeeded(&self) {
        if self.0.asker.ignores_health {
            return;
        }
        let now = Instant::now();
        let mut gate = self.0.hosts.0.gate.lock();
        let took = now - self.0.since;
        gate.succeeded(&self.0.asker, took, now);
    }

    /// The server has failed. `asked` is the pause that it asked for. It is granted by all
    /// processes.
    pub(super) fn failed(&self, error: &str, asked: Option<Duration>) {
        let now = Instant::now();
        let Visiting { hosts, asker, .. } = &*self.0;
        if asker.ignores_health {
            return;
        }
        {
            let mut gate = hosts.0.gate.lock();
            let policy = gate.policy();
            let took = now - self.0.since;
            gate.health(asker, now)
                .failed(error, took, asked, &policy, now);
        }
        if let Some(pause) = asked.filter(|pause| !pause.is_zero()) {
            let (hosts, site) = (hosts.clone(), asker.site.clone());
            tokio::spawn(async move {
                let key = key(&site);
                let held_off = hosts.0.quotas.hold_off(&key, pause, unix_millis()).await;
                if let Err(error) = held_off {
                    tracing::warn!(
                        site,
                        error = format!("{error:#}"),
                        "the pause that the site asks for is not known to other processes"
                    );
                }
            });
        }
    }
}

impl Drop for Visiting {
    fn drop(&mut self) {
        let mut gate = self.hosts.0.gate.lock();
        gate.end(&self.asker, self.trial.as_ref(), Instant::now());
        drop(gate);
        self.hosts.0.changed.notify_waiters();
    }
}

/// A visit that waits for another turn.
struct Continuing<'a>(&'a Visiting);

impl<'a> Continuing<'a> {
    fn begin(visit: &'a Visit) -> Self {
        let Visiting { hosts, asker, .. } = &*visit.0;
        hosts.0.gate.lock().continues(asker, true, Instant::now());
        Self(&visit.0)
    }
}

impl Drop for Continuing<'_> {
    fn drop(&mut self) {
        let Visiting { hosts, asker, .. } = self.0;
        hosts.0.gate.lock().continues(asker, false, Instant::now());
    }
}

/// The host and port of a URL.
fn server(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{host}:{}", url.port_or_known_default().unwrap_or(0))
}

/// The key under which all processes share a site.
fn key(site: &str) -> String {
    format!("site/{site}")
}

/// Keeps a site's allowance as large as there is work for it, until there is none.
async fn keep(hosts: Hosts, site: String) {
    let key = key(&site);
    loop {
        let upkeep = hosts.0.gate.lock().upkeep(&site, Instant::now());
        match upkeep {
            Upkeep::End => return,
            Upkeep::Rest(until, kick) => {
                tokio::select! {
                    () = kick.notified() => {}
                    () = tokio::time::sleep_until(until.into()) => {}
                }
            }
            Upkeep::Ask {
                limit,
                in_hand,
                places,
                turns,
                away,
            } => {
                let request = ShareRequest {
                    process: hosts.0.process.clone(),
                    in_hand,
                    places,
                    turns,
                    away,
                };
                let asked = Instant::now();
                let share = hosts.0.quotas.share(&key, &limit, &request, unix_millis());
                let share = share.await;
                let mut gate = hosts.0.gate.lock();
                gate.given(&site, share, (places, turns), asked, Instant::now());
                drop(gate);
                hosts.0.changed.notify_waiters();
            }
        }
    }
}
