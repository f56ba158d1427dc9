//! Channels to publish on.

use lapin::Channel;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The number of calls that publish at the same time. Further calls wait.
const CHANNELS: usize = 64;

/// Channels in confirm mode that nobody publishes on now.
///
/// A call has its channel to itself: lapin gives a returned message to whichever
/// confirmation comes next on the channel, and tags of tasks that share one can
/// be swapped. The channel of a call that is cut off is not used again. Nor is the channel of
/// one that is refused: if a node of a cluster died, RabbitMQ 3.10 can refuse everything on
/// a channel that had not published to the queue before, because it still asks the dead node
/// whether there is room.
pub struct PublishingChannels {
    idle: Mutex<Vec<Channel>>,
    permits: Semaphore,
}

impl Default for PublishingChannels {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
            permits: Semaphore::new(CHANNELS),
        }
    }
}

impl PublishingChannels {
    /// Waits until a call may publish. It may publish until it drops the permit.
    pub async fn permit(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await.expect("never closed")
    }

    /// A channel that was put back, if there is one.
    pub fn take(&self) -> Option<Channel> {
        self.idle.lock().pop()
    }

    /// Puts a channel back that everything was confirmed on.
    pub fn put_back(&self, channel: Channel) {
        self.idle.lock().push(channel);
    }
}
