//! What the broker, its consumers and their deliveries share.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use maskline_messages::Queue;

use super::{file::File, messages, notify::Notifier, processes::Process};
use crate::broker::{envelope::Envelope, error::BrokerError};

/// How long a living process may keep a message in hand. RabbitMQ's default is the same.
const VISIBILITY: Duration = Duration::from_secs(30 * 60);

/// The open queue.
pub struct Shared {
    pub file: File,
    pub notifier: Notifier,
    pub process: Process,
    /// Messages that a queue may hold.
    max_length: u64,
    closed: AtomicBool,
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
        })
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Gives back what dead processes had in hand, and what living ones have had for too long.
    pub async fn sweep(&self) -> Result<(), BrokerError> {
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
