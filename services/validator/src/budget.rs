//! A bound on the bytes that all images in hand take together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for so many bytes. Whoever wants more than there is in all waits until
/// it is alone.
#[derive(Clone)]
pub struct Budget {
    // In KiB, because a semaphore counts to 2^32 at a time.
    room: Arc<Semaphore>,
    total: u32,
}

impl Budget {
    pub fn new(bytes: u64) -> Self {
        let total = kib(bytes);
        Self {
            room: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Waits for room, which is given back when the permit is dropped. First
    /// come, first served, so that the large are not waiting for ever.
    pub async fn room(&self, bytes: u64) -> OwnedSemaphorePermit {
        let wanted = kib(bytes).min(self.total);
        let permit = self.room.clone().acquire_many_owned(wanted).await;
        permit.expect("never closed")
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Context, task::Waker};

    use super::*;

    fn is_ready(future: impl Future) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(future).poll(&mut context).is_ready()
    }

    #[tokio::test]
    async fn the_large_wait_until_they_are_alone() {
        let budget = Budget::new(1 << 20);
        let small = budget.room(1000).await;
        assert!(is_ready(budget.room(1 << 19)));
        assert!(!is_ready(budget.room(1 << 40)));
        drop(small);
        assert!(is_ready(budget.room(1 << 40)));
    }
}
