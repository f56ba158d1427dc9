//! Work that one process at a time does, and that outlives the process.
//!
//! The catalog records for each piece of work who holds its lease, and a beat that the holder
//! counts up. [`LeaseWatch`] judges by the beat alone: if it stands still for longer than
//! the lease lasts, on the watching process's own monotonic clock, its holder is dead or
//! cut off, and the work may be taken over. [`HeldLease`] is the other side: it counts
//! the beat up for as long as it lives.
//!
//! The lease also counts failures in a row, holders that died included, until the work
//! makes progress. So every process can see which work kills the processes that do it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
    time,
};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::Leases,
    error::StorageError,
    records::{Lease, Work},
};

/// How long a lease lasts without a sign of life.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(15);

/// A lease that was not checked for so many times its life is forgotten: its work is
/// done, or was given back.
const FORGOTTEN: u32 = 20;

/// Claims work, and remembers which leases this process has seen and since when.
pub struct LeaseWatch {
    leases: Arc<dyn Leases>,
    time_to_live: Duration,
    seen: Mutex<HashMap<Work, Sighting>>,
}

struct Sighting {
    lease: Lease,
    since: Instant,
    checked: Instant,
}

impl LeaseWatch {
    /// Watches leases that last for [`TIME_TO_LIVE`].
    pub fn new(leases: Arc<dyn Leases>) -> Self {
        Self::lasting(leases, TIME_TO_LIVE)
    }

    /// `time_to_live` says how long a beat may stand still before the work is taken over.
    /// It must be the same in every process that shares the work.
    pub fn lasting(leases: Arc<dyn Leases>, time_to_live: Duration) -> Self {
        Self {
            leases,
            time_to_live,
            seen: Mutex::default(),
        }
    }

    /// Lists the work of a kind that is not done, see [`Leases::open_work`].
    pub async fn open_work(&self, kind: &str) -> Result<Vec<Lease>, StorageError> {
        self.leases.open_work(kind).await
    }

    /// Claims the first work of a kind that can be claimed, see [`LeaseWatch::claim`].
    pub async fn claim_any(
        &self,
        kind: &str,
        owner: &str,
    ) -> Result<Option<HeldLease>, StorageError> {
        for seen in self.open_work(kind).await? {
            if let Some(held) = self.claim(&seen, owner).await? {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }

    /// Claims the work if it is free, or if this watch first saw the beat longer ago than
    /// the lease lasts. `owner` is unique among all processes, restarts included. Returns
    /// `None` if another holds the work, or was quicker.
    pub async fn claim(
        &self,
        seen: &Lease,
        owner: &str,
    ) -> Result<Option<HeldLease>, StorageError> {
        if seen.owner.is_some() && !self.stands_still(seen) {
            return Ok(None);
        }
        let before = Instant::now();
        let Some(lease) = self.leases.acquire_lease(seen, owner).await? else {
            return Ok(None);
        };
        if let Some(holder) = &seen.owner {
            tracing::warn!(work = %lease.work, holder, "taken over: its holder shows no sign of life");
        }
        self.seen.lock().remove(&lease.work);
        let renewal = Renewal {
            leases: self.leases.clone(),
            time_to_live: self.time_to_live,
            lost: CancellationToken::new(),
            progress: LeaseProgress::after(lease.failures),
        };
        Ok(Some(HeldLease::new(renewal, lease, before)))
    }

    fn stands_still(&self, now: &Lease) -> bool {
        let mut seen = self.seen.lock();
        let now_checked = Instant::now();
        if let Some(sighting) = seen.get_mut(&now.work)
            && sighting.lease == *now
        {
            sighting.checked = now_checked;
            return sighting.since.elapsed() > self.time_to_live;
        }
        let forgotten = self.time_to_live * FORGOTTEN;
        seen.retain(|_, sighting| sighting.checked.elapsed() < forgotten);
        let sighting = Sighting {
            lease: now.clone(),
            since: now_checked,
            checked: now_checked,
        };
        seen.insert(now.work.clone(), sighting);
        false
    }
}

/// A lease that this process holds. It is renewed in the background until the work is
/// finished, the lease is released, this is dropped (which releases the lease some time
/// later) or the lease is lost.
pub struct HeldLease {
    work: Work,
    lost: CancellationToken,
    progress: LeaseProgress,
    /// Ends the renewal. If it is dropped unused, the work counts as unfinished.
    outcome: Option<oneshot::Sender<WorkOutcome>>,
    renewal: JoinHandle<Result<(), StorageError>>,
}

enum WorkOutcome {
    Finished,
    Failed,
    Unfinished,
}

/// Reports that the work makes progress. If the holder dies or fails
/// later, that is the first failure in a row.
#[derive(Debug, Clone, Default)]
pub struct LeaseProgress(Arc<ProgressState>);

#[derive(Debug, Default)]
struct ProgressState {
    reported: Notify,
    /// Failures in a row, until now.
    failures: AtomicU32,
}

impl LeaseProgress {
    fn after(failures: u32) -> Self {
        Self(Arc::new(ProgressState {
            reported: Notify::new(),
            failures: failures.into(),
        }))
    }

    /// Reports that progress was made: what was done until now will not have to be done again.
    pub fn made(&self) {
        self.0.failures.store(0, Ordering::Relaxed);
        self.0.reported.notify_one();
    }
}

impl HeldLease {
    fn new(renewal: Renewal, lease: Lease, alive: Instant) -> Self {
        let (outcome, ended) = oneshot::channel();
        Self {
            work: lease.work.clone(),
            lost: renewal.lost.clone(),
            progress: renewal.progress.clone(),
            outcome: Some(outcome),
            renewal: tokio::spawn(renewal.renew_until_ended(lease, alive, ended)),
        }
    }

    pub fn work(&self) -> &Work {
        &self.work
    }

    /// How often in a row the holders before this one died or failed. It is 0 from the first
    /// progress on.
    pub fn failures(&self) -> u32 {
        self.progress.0.failures.load(Ordering::Relaxed)
    }

    pub fn progress(&self) -> LeaseProgress {
        self.progress.clone()
    }

    /// Returns when another process may have the work: stop at once.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// A token that is cancelled when another process may have the work, for those who
    /// can't wait on [`HeldLease::lost`].
    pub fn lost_token(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Marks the work as done. The error is
    /// [`Unavailable`](crate::StorageErrorKind::Unavailable) if the lease was lost: then
    /// another process does the work, or will.
    pub async fn finish(mut self) -> Result<(), StorageError> {
        self.end(WorkOutcome::Finished).await?;
        if self.lost.is_cancelled() {
            return Err(lost(&self.work));
        }
        Ok(())
    }

    /// Gives the work back undone, so that another process can have it at once.
    pub async fn release(mut self) -> Result<(), StorageError> {
        self.end(WorkOutcome::Unfinished).await
    }

    /// Gives the work back and counts a failure.
    pub async fn fail(mut self) -> Result<(), StorageError> {
        self.end(WorkOutcome::Failed).await
    }

    async fn end(&mut self, outcome: WorkOutcome) -> Result<(), StorageError> {
        if let Some(sender) = self.outcome.take() {
            // The renewal has ended already if the lease was lost.
            let _ = sender.send(outcome);
        }
        let renewed = (&mut self.renewal).await;
        renewed.map_err(|e| StorageError::internal("a lease's renewal failed").caused_by(e))?
    }
}

fn lost(work: &Work) -> StorageError {
    StorageError::unavailable(format!("the lease on {work} was lost"))
}

/// The renewal task of one lease.
struct Renewal {
    leases: Arc<dyn Leases>,
    time_to_live: Duration,
    lost: CancellationToken,
    progress: LeaseProgress,
}

impl Renewal {
    /// Renews the lease three times in its life, and at the first progress after failures.
    async fn renew_until_ended(
        self,
        mut lease: Lease,
        mut alive: Instant,
        mut ended: oneshot::Receiver<WorkOutcome>,
    ) -> Result<(), StorageError> {
        // The time of the last attempt to renew, whether it succeeded or not.
        let mut tried = Instant::now();
        loop {
            let pause = (self.time_to_live / 3).saturating_sub(tried.elapsed());
            tokio::select! {
                // Progress comes first, so that a failure after it is the first in a row.
                biased;
                () = self.progress.0.reported.notified() => {
                    if lease.failures == 0 {
                        continue;
                    }
                    lease.failures = 0;
                }
                outcome = &mut ended => {
                    return self.end(lease, outcome.unwrap_or(WorkOutcome::Unfinished)).await;
                }
                () = time::sleep(self.left(alive).min(pause)) => {}
            }
            let before = Instant::now();
            tried = before;
            match self.renew(&lease, alive).await {
                Ok(Some(renewed)) => (lease, alive) = (renewed, before),
                Ok(None) => {
                    tracing::warn!(work = %lease.work, "another process took it over");
                    break;
                }
                Err(error) if self.left(alive).is_zero() => {
                    tracing::warn!(work = %lease.work, error = format!("{error:#}"), "the lease ran out");
                    break;
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::debug!(work = %lease.work, error, "the lease is not renewed yet");
                }
            }
        }
        self.lost.cancel();
        Ok(())
    }

    async fn end(&self, mut lease: Lease, outcome: WorkOutcome) -> Result<(), StorageError> {
        match outcome {
            WorkOutcome::Finished => match self.leases.finish_work(&lease).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    self.lost.cancel();
                    return Ok(());
                }
                Err(error) => {
                    // The work has to be done again, by whoever claims it first.
                    let _ = self.leases.release_lease(&lease).await;
                    return Err(error);
                }
            },
            WorkOutcome::Failed => lease.failures = lease.failures.saturating_add(1),
            WorkOutcome::Unfinished => {}
        }
        self.leases.release_lease(&lease).await
    }

    /// Does not wait for an answer that would come after the lease has run out. If the
    /// lease has run out already (the process was suspended), the catalog says whether
    /// another process took it over.
    async fn renew(&self, lease: &Lease, alive: Instant) -> Result<Option<Lease>, StorageError> {
        let limit = match self.left(alive) {
            Duration::ZERO => self.time_to_live / 3,
            left => left,
        };
        match time::timeout(limit, self.leases.renew_lease(lease)).await {
            Ok(answer) => answer,
            Err(_) => Err(StorageError::unavailable(
                "the catalog does not answer in time".to_owned(),
            )),
        }
    }

    fn left(&self, alive: Instant) -> Duration {
        self.time_to_live.saturating_sub(alive.elapsed())
    }
}
