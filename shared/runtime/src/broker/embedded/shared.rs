//! What the broker, its consumers and their deliveries share.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use maskline_foundation::time::unix_millis;
use maskline_messages::Queue;
use parking_lot::Mutex;

use super::{file::File, messages, notify::Notifier, processes::Process};
use crate::broker::{envelope::Envelope, error::BrokerError};

/// How long a living process may keep a message in hand. RabbitMQ's default is the same.
const VISIBILITY: Duration = Duration::from_secs(30 * 60);

/// A clock that is set back by less than this is not noticed: a wait becomes longer by it.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// The open queue.
pub struct Shared {
    pub file: File,
    pub notifier: Notifier,
    pub process: Process,
    /// Messages that a queue may hold.
    max_length: u64,
    closed: AtomicBool,
    clock: Mutex<ClockWatch>,
}

/// Notices that the clock was set back, by the monotonic clock of this process.
struct ClockWatch {
    looked: Instant,
    /// What the clock said then, in milliseconds since 1970.
    millis: u64,
}

impl ClockWatch {
    fn new(looked: Instant, millis: u64) -> Self {
        Self { looked, millis }
    }

    /// Returns whether the clock was set back since the last look.
    fn was_set_back(&mut self, now: Instant, millis: u64) -> bool {
        let passed = now.saturating_duration_since(self.looked);
        let expected = Duration::from_millis(self.millis) + passed;
        *self = Self::new(now, millis);
        Duration::from_millis(millis) + CLOCK_TOLERANCE < expected
    }
}

impl Shared {
    /// Opens the file and the two folders beside it, or makes them. This blocks the thread.
    pub fn open(path: &Path, max_length: u64) -> Result<Self, BrokerError> {
        let file = File::open(path)?;
        let beside = |what: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(what);
            path.with_file_name(name)
        };
        let unusable = |error: std::io::Error| {
            let problem = format!("the files beside {} can't be made", path.display());
            BrokerError::misconfigured(problem).caused_by(error)
        };
        Ok(Self {
            notifier: Notifier::open(&beside("-notify")).map_err(unusable)?,
            process: Process::enter(&beside("-processes")).map_err(unusable)?,
            file,
            max_length,
            closed: AtomicBool::new(false),
            // It may have been set back while nobody had the queue open. This makes the first look
            // see that.
            clock: Mutex::new(ClockWatch::new(Instant::now(), u64::MAX)),
        })
    }

    /// Lets waits and time-outs begin anew if the clock was set back: without this, what waits for
    /// a minute would wait for a year where the clock was wrong by a year.
    async fn follow_clock(&self) -> Result<(), BrokerError> {
        let now = unix_millis();
        if !self.clock.lock().was_set_back(Instant::now(), now) {
            return Ok(());
        }
        let following = move |connection: &_| messages::follow_clock(connection, now);
        self.file.write(following).await?;
        self.notify(Queue::ALL);
        Ok(())
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Gives back what dead processes had in hand, and what living ones have had for too long.
    pub async fn sweep(&self) -> Result<(), BrokerError> {
        self.follow_clock().await?;
        let dead = self.process.dead().map_err(|error| {
            BrokerError::unavailable(self.file.path().display().to_string()).caused_by(error)
        })?;
        self.give_back(dead.clone()).await?;
        dead.iter().for_each(|name| self.process.forget(name));
        Ok(())
    }

    /// Gives back what this process has in hand, and closes the file.
    pub async fn close(&self) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.give_back(vec![self.process.name.clone()]).await {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "what is in hand comes back when this process has ended"
            );
        }
        self.file.close();
    }

    async fn give_back(&self, owners: Vec<String>) -> Result<(), BrokerError> {
        let queues = self
            .file
            .write(move |connection| messages::give_back(connection, &owners, VISIBILITY))
            .await?;
        self.notify(queues);
        Ok(())
    }

    /// Puts all messages into their queues, or none if one queue has no room.
    pub async fn put(&self, routed: Arc<Vec<(Queue, Envelope)>>) -> Result<(), BrokerError> {
        let (all, max_length) = (routed.clone(), self.max_length);
        let full = self
            .file
            .write(move |connection| messages::put(connection, &all, max_length))
            .await?;
        if let Some(full) = full {
            return Err(BrokerError::Full(full.name().to_owned()));
        }
        let mut queues: Vec<Queue> = routed.iter().map(|(queue, _)| *queue).collect();
        queues.sort_unstable();
        queues.dedup();
        self.notify(queues);
        Ok(())
    }

    /// Notifies everybody that these queues have more now.
    pub fn notify(&self, queues: impl IntoIterator<Item = Queue>) {
        for queue in queues {
            self.notifier.notify(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_noticed_once() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut clock = ClockWatch::new(begin, 1_000_000);
        assert!(!clock.was_set_back(after(1), 1_001_000));
        // It may be set forward, or a little back.
        assert!(!clock.was_set_back(after(2), 9_001_000));
        assert!(!clock.was_set_back(after(3), 9_001_000));
        assert!(clock.was_set_back(after(4), 5_000_000));
        assert!(!clock.was_set_back(after(5), 5_001_000));
    }
}
