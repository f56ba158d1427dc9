//! Work that one process at a time does, and that outlives the process.
//!
//! A [`Catalog`] keeps for each piece of work who holds it and a beat that the
//! holder counts up. [`LeaseWatch`] judges by the beat alone: one that stands
//! still for longer than the lease lasts, on the watching process's own monotonic
//! clock, belongs to a process that is dead or cut off, and its work may be taken.
//! [`Held`] is the other side: it counts the beat up for as long as it lives.
//!
//! The lease also counts its failures, holders that died included, until one comes
//! on: so that work which kills whoever takes it is known, whoever has it next.

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
    catalog::Catalog,
    error::StorageError,
    records::{Lease, Work},
};

/// How long a lease lasts without a sign of life.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(15);

/// What has not been looked at for so many lives of a lease is done, or was given back.
const FORGOTTEN: u32 = 20;

/// What this process has seen of leases, and since when.
pub struct LeaseWatch {
    time_to_live: Duration,
    seen: Mutex<HashMap<Work, Sighting>>,
}

struct Sighting {
    lease: Lease,
    since: Instant,
    looked: Instant,
}

impl Default for LeaseWatch {
    fn default() -> Self {
        Self::new(TIME_TO_LIVE)
    }
}

impl LeaseWatch {
    /// `time_to_live`: how long a beat may stand still before its work is taken
    /// over. The same in every process that shares the work.
    pub fn new(time_to_live: Duration) -> Self {
        Self {
            time_to_live,
            seen: Mutex::default(),
        }
    }

    /// Takes the first work of a kind that can be taken, see [`LeaseWatch::claim`].
    pub async fn claim_any(
        &self,
        catalog: &Arc<dyn Catalog>,
        kind: &str,
        owner: &str,
    ) -> Result<Option<Held>, StorageError> {
        for seen in catalog.open_work(kind).await? {
            if let Some(held) = self.claim(catalog, &seen, owner).await? {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }

    /// Takes the work if it is free, or if its holder has shown no sign of life
    /// since this watch first saw that beat, longer ago than the lease lasts.
    /// `owner` is unique among all processes, restarts included. `None`: it is in
    /// the hands of another, or another was quicker.
    pub async fn claim(
        &self,
        catalog: &Arc<dyn Catalog>,
        seen: &Lease,
        owner: &str,
    ) -> Result<Option<Held>, StorageError> {
        if seen.owner.is_some() && !self.stands_still(seen) {
            return Ok(None);
        }
        let before = Instant::now();
        let Some(lease) = catalog.take(seen, owner).await? else {
            return Ok(None);
        };
        if let Some(holder) = &seen.owner {
            tracing::warn!(work = %lease.work, holder, "taken over: its holder shows no sign of life");
        }
        self.seen.lock().remove(&lease.work);
        let holder = Holder {
            catalog: catalog.clone(),
            time_to_live: self.time_to_live,
            lost: CancellationToken::new(),
            progress: Progress::after(lease.failures),
        };
        Ok(Some(Held::new(holder, lease, before)))
    }

    fn stands_still(&self, now: &Lease) -> bool {
        let mut seen = self.seen.lock();
        let looked = Instant::now();
        if let Some(sighting) = seen.get_mut(&now.work)
            && sighting.lease == *now
        {
            sighting.looked = looked;
            return sighting.since.elapsed() > self.time_to_live;
        }
        let forgotten = self.time_to_live * FORGOTTEN;
        seen.retain(|_, sighting| sighting.looked.elapsed() < forgotten);
        let sighting = Sighting {
            lease: now.clone(),
            since: looked,
            looked,
        };
        seen.insert(now.work.clone(), sighting);
        false
    }
}

/// Work in this process's hands. It is kept alive in the background until it is
/// finished, released, dropped (which releases it too, some time later) or lost.
pub struct Held {
    work: Work,
    lost: CancellationToken,
    progress: Progress,
    /// Ends the keeper; dropped, it releases the work.
    end: Option<oneshot::Sender<End>>,
    keeper: JoinHandle<Result<(), StorageError>>,
}

enum End {
    Finished,
    Failed,
}

/// Says that held work has come on, so that whoever dies or fails from now on is the
/// first to do so.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Course>);

#[derive(Debug, Default)]
struct Course {
    came_on: Notify,
    /// In a row, until now.
    failures: AtomicU32,
}

impl Progress {
    fn after(failures: u32) -> Self {
        Self(Arc::new(Course {
            came_on: Notify::new(),
            failures: failures.into(),
        }))
    }

    /// To be called when what was done will not have to be done again.
    pub fn made(&self) {
        self.0.failures.store(0, Ordering::Relaxed);
        self.0.came_on.notify_one();
    }
}

impl Held {
    fn new(holder: Holder, lease: Lease, alive: Instant) -> Self {
        let (end, ended) = oneshot::channel();
        Self {
            work: lease.work.clone(),
            lost: holder.lost.clone(),
            progress: holder.progress.clone(),
            end: Some(end),
            keeper: tokio::spawn(holder.keep(lease, alive, ended)),
        }
    }

    pub fn work(&self) -> &Work {
        &self.work
    }

    /// How often in a row those who held it before died or failed; 0 from when it has
    /// come on.
    pub fn failures(&self) -> u32 {
        self.progress.0.failures.load(Ordering::Relaxed)
    }

    /// For whoever does the work, to say that it comes on.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Returns when another process may have the work: stop at once.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Cancelled when another process may have the work, for those who can't wait
    /// on [`Held::lost`].
    pub fn lost_token(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Done. [`StorageError::Unavailable`] where the lease was lost: another is at it,
    /// or will be.
    pub async fn finish(mut self) -> Result<(), StorageError> {
        self.end(Some(End::Finished)).await?;
        if self.lost.is_cancelled() {
            return Err(lost(&self.work));
        }
        Ok(())
    }

    /// Gives the work back undone, so that another can take it at once.
    pub async fn release(mut self) -> Result<(), StorageError> {
        self.end(None).await
    }

    /// Gives the work back and counts a failure.
    pub async fn fail(mut self) -> Result<(), StorageError> {
        self.end(Some(End::Failed)).await
    }

    async fn end(&mut self, end: Option<End>) -> Result<(), StorageError> {
        if let (Some(sender), Some(end)) = (self.end.take(), end) {
            // The keeper is gone where the lease was lost before.
            let _ = sender.send(end);
        }
        let kept = (&mut self.keeper).await;
        kept.map_err(|e| StorageError::Internal(format!("a lease's keeper failed: {e}")))?
    }
}

fn lost(work: &Work) -> StorageError {
    StorageError::Unavailable(format!("the lease on {work} was lost"))
}

struct Holder {
    catalog: Arc<dyn Catalog>,
    time_to_live: Duration,
    lost: CancellationToken,
    progress: Progress,
}

impl Holder {
    /// Counts the beat up three times in a lease's life, and when the work comes on
    /// after failures.
    async fn keep(
        self,
        mut lease: Lease,
        mut alive: Instant,
        mut ended: oneshot::Receiver<End>,
    ) -> Result<(), StorageError> {
        // When it was last renewed, or could not be.
        let mut tried = Instant::now();
        loop {
            let pause = (self.time_to_live / 3).saturating_sub(tried.elapsed());
            tokio::select! {
                // Progress first: a failure after it is the first in a row.
                biased;
                () = self.progress.0.came_on.notified() => {
                    if lease.failures == 0 {
                        continue;
                    }
                    lease.failures = 0;
                }
                end = &mut ended => return self.end(lease, end.ok()).await,
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
                    tracing::warn!(work = %lease.work, %error, "the lease ran out");
                    break;
                }
                Err(error) => tracing::debug!(work = %lease.work, %error, "not renewed yet"),
            }
        }
        self.lost.cancel();
        Ok(())
    }

    async fn end(&self, mut lease: Lease, end: Option<End>) -> Result<(), StorageError> {
        match end {
            Some(End::Finished) => match self.catalog.finish(&lease).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    self.lost.cancel();
                    return Ok(());
                }
                Err(error) => {
                    // To be done again, by whoever comes first.
                    let _ = self.catalog.release(&lease).await;
                    return Err(error);
                }
            },
            Some(End::Failed) => lease.failures = lease.failures.saturating_add(1),
            None => {}
        }
        self.catalog.release(&lease).await
    }

    /// Does not wait for an answer that would come after the lease has run out. If
    /// it has (the process was suspended), the catalog says whether it was taken.
    async fn renew(&self, lease: &Lease, alive: Instant) -> Result<Option<Lease>, StorageError> {
        let patience = match self.left(alive) {
            Duration::ZERO => self.time_to_live / 3,
            left => left,
        };
        match time::timeout(patience, self.catalog.renew(lease)).await {
            Ok(answer) => answer,
            Err(_) => Err(StorageError::Unavailable(
                "the catalog does not answer in time".to_owned(),
            )),
        }
    }

    fn left(&self, alive: Instant) -> Duration {
        self.time_to_live.saturating_sub(alive.elapsed())
    }
}
