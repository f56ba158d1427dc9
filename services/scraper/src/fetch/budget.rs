//! A bound on the bytes of all downloads in hand together.
//!
//! One image may have 20 MiB and many are fetched at a time, yet the process
//! must stay small. A download that announces its size waits until there is room
//! for all of it. One that doesn't begins small and grows while there is room;
//! when there is none it waits for a lane with room of its own, which one
//! download has at a time. Whoever has the lane waits for nobody, so nobody waits
//! for ever.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a download of unknown size begins with.
const FIRST: u64 = 256 << 10;

/// Room for the bytes of downloads. At most `total` and one largest download are
/// in use at any moment.
#[derive(Clone)]
pub struct Budget {
    // In KiB, because a semaphore counts to 2^32 at a time.
    shared: Arc<Semaphore>,
    lane: Arc<Semaphore>,
}

impl Budget {
    /// `total` bytes, but at least those of one largest download.
    pub fn new(total: u64, largest: u64) -> Self {
        let total = total.max(largest).max(FIRST);
        Self {
            shared: Arc::new(Semaphore::new(kib(total) as usize)),
            lane: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits for room for `bytes`, or for a beginning where the size is unknown.
    pub async fn room(&self, bytes: Option<u64>) -> Room {
        let bytes = bytes.unwrap_or(FIRST);
        let held = self.shared.clone().acquire_many_owned(kib(bytes)).await;
        Room {
            budget: self.clone(),
            bytes,
            held: vec![held.expect("never closed")],
            lane: None,
        }
    }
}

/// Room that one download holds, given back when dropped.
pub struct Room {
    budget: Budget,
    bytes: u64,
    held: Vec<OwnedSemaphorePermit>,
    lane: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Waits until there is room for `bytes` in all.
    pub async fn grow_to(&mut self, bytes: u64) {
        while self.lane.is_none() && self.bytes < bytes {
            let more = self.bytes;
            match self.budget.shared.clone().try_acquire_many_owned(kib(more)) {
                Ok(held) => {
                    self.held.push(held);
                    self.bytes += more;
                }
                Err(_) => {
                    let lane = self.budget.lane.clone().acquire_owned().await;
                    self.lane = Some(lane.expect("never closed"));
                }
            }
        }
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn announced_sizes_wait_for_room_and_get_it_when_another_is_done() {
        let budget = Budget::new(4 * MIB, 3 * MIB);
        let first = budget.room(Some(3 * MIB)).await;
        let mut second = Box::pin(budget.room(Some(2 * MIB)));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        second.await;
    }

    #[tokio::test]
    async fn unannounced_sizes_share_what_is_left_and_then_go_one_by_one() {
        let budget = Budget::new(MIB, MIB);
        let mut rooms = vec![];
        for _ in 0..4 {
            rooms.push(budget.room(None).await);
        }
        // All is taken, in four beginnings: each must grow to finish.
        let (mut a, mut b) = (rooms.pop().unwrap(), rooms.pop().unwrap());
        a.grow_to(MIB).await;
        assert!(b.grow_to(MIB).now_or_never().is_none(), "the lane is taken");
        drop(a);
        b.grow_to(MIB).await;
    }

    #[tokio::test]
    async fn a_budget_smaller_than_the_largest_download_still_fits_one() {
        let budget = Budget::new(1, 20 * MIB);
        budget.room(Some(20 * MIB)).await;
    }
}
