//! Channels to publish on.

use lapin::Channel;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Calls that publish at a time. Others wait.
const CHANNELS: usize = 64;

/// Channels in confirm mode that nobody publishes on now.
///
/// A call has its channel to itself: lapin gives a returned message to whichever
/// confirmation comes next on the channel, and tags of tasks that share one can
/// be swapped. A call that is cut off takes its channel with it. So does one that is
/// refused: of a cluster whose node died RabbitMQ 3.10 goes on asking the dead one for
/// room, and refuses all, on a channel that had not published to the queue before.
pub struct PublishingChannels {
    idle: Mutex<Vec<Channel>>,
    places: Semaphore,
}

impl Default for PublishingChannels {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
            places: Semaphore::new(CHANNELS),
        }
    }
}

impl PublishingChannels {
    /// Waits until a call may publish. It may until it drops the permit.
    pub async fn place(&self) -> SemaphorePermit<'_> {
        self.places.acquire().await.expect("never closed")
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
