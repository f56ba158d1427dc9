//! A bound on the bytes that all pieces of work in hand take together.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A piece of unknown size grows only while so many times its new size stays free for others.
const STAYS_FREE: usize = 2;

/// Room for so many bytes, given out first come, first served, so that large pieces do not
/// wait for ever.
///
/// A piece of known size waits until there is room for all of it. One of unknown size
/// begins small and [grows](ByteRoom::grow_to) while twice its new size stays free. So many
/// pieces that grow without an end leave room for small ones, and the more there are, the
/// smaller they stay. A piece that may not grow waits until others have given room back, or for
/// its turn in the overflow lane. One piece at a time is in the lane. It grows without a bound
/// and waits for nobody, so no piece waits for ever. The pieces together take at most the total
/// and one largest piece.
#[derive(Clone)]
pub struct ByteBudget {
    // In KiB, because a semaphore counts to 2^32 at a time.
    shared: Arc<Semaphore>,
    total: u32,
    lane: Arc<Semaphore>,
    /// Room was given back.
    given_back: Arc<Notify>,
}

impl ByteBudget {
    /// Room for `total` bytes.
    pub fn new(total: u64) -> Self {
        let total = kib(total);
        Self {
            shared: Arc::new(Semaphore::new(total as usize)),
            total,
            lane: Arc::new(Semaphore::new(1)),
            given_back: Arc::default(),
        }
    }

    /// Waits for room for `bytes`. A piece that wants more than the total waits until it
    /// is alone.
    pub async fn room(&self, bytes: u64) -> ByteRoom {
        let wanted = kib(bytes).min(self.total);
        let permit = self.shared.clone().acquire_many_owned(wanted).await;
        ByteRoom {
            budget: self.clone(),
            bytes,
            permits: vec![permit.expect("never closed")],
            lane: None,
        }
    }
}

/// The room that one piece of work has. It is given back when this is dropped.
pub struct ByteRoom {
    budget: ByteBudget,
    bytes: u64,
    permits: Vec<OwnedSemaphorePermit>,
    lane: Option<OwnedSemaphorePermit>,
}

impl ByteRoom {
    /// Waits until there is room for `bytes` in all. Doubles the room each time that it is
    /// too small.
    pub async fn grow_to(&mut self, bytes: u64) {
        let budget = self.budget.clone();
        let lane = budget.lane.acquire_owned();
        tokio::pin!(lane);
        while self.lane.is_none() && self.bytes < bytes {
            let given_back = budget.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            if self.doubles() {
                continue;
            }
            // Whatever comes first, so that a slow piece in the lane holds up no others while
            // there is room besides.
            tokio::select! {
                lane = &mut lane => self.lane = Some(lane.expect("never closed")),
                () = given_back => {}
            }
        }
    }

    /// Doubles the room, if enough stays free for others.
    fn doubles(&mut self) -> bool {
        let more = kib(self.bytes);
        let shared = &self.budget.shared;
        if shared.available_permits() / (1 + 2 * STAYS_FREE) < more as usize {
            return false;
        }
        let Ok(permit) = shared.clone().try_acquire_many_owned(more) else {
            return false;
        };
        self.permits.push(permit);
        self.bytes += self.bytes;
        true
    }
}

impl Drop for ByteRoom {
    fn drop(&mut self) {
        self.permits.clear();
        self.lane = None;
        self.budget.given_back.notify_waiters();
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
    async fn a_piece_of_known_size_waits_until_another_gives_its_room_back() {
        let budget = ByteBudget::new(4 * MIB);
        let first = budget.room(3 * MIB).await;
        let mut second = Box::pin(budget.room(2 * MIB));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        second.await;
    }

    #[tokio::test]
    async fn pieces_of_unknown_size_share_the_room_and_then_grow_one_by_one() {
        let budget = ByteBudget::new(MIB);
        let mut rooms = vec![];
        for _ in 0..4 {
            rooms.push(budget.room(MIB / 4).await);
        }
        // Four small pieces have taken all the room, and each must grow to finish.
        let (mut a, mut b) = (rooms.pop().unwrap(), rooms.pop().unwrap());
        a.grow_to(MIB).await;
        assert!(b.grow_to(MIB).now_or_never().is_none(), "the lane is taken");
        drop(a);
        b.grow_to(MIB).await;
    }

    #[tokio::test]
    async fn pieces_that_grow_without_an_end_leave_room_for_others() {
        let budget = ByteBudget::new(32 * MIB);
        let (first, mut endless) = (64 << 10, vec![]);
        for _ in 0..25 {
            endless.push(budget.room(first).await);
        }
        for size in 0..=8 {
            for room in &mut endless {
                let _ = room.grow_to(first << size).now_or_never();
            }
        }
        let mut waiting = endless.pop().unwrap();
        let waits = waiting.grow_to(20 * MIB);
        tokio::pin!(waits);
        assert!(waits.as_mut().now_or_never().is_none());
        for _ in 0..50 {
            let room = budget.room(first).now_or_never();
            let mut room = room.expect("there is room to begin");
            let grown = room.grow_to(MIB / 2).now_or_never();
            assert!(grown.is_some(), "a small piece waits for endless ones");
        }
    }

    #[tokio::test]
    async fn a_piece_grows_on_when_another_gives_its_room_back() {
        let budget = ByteBudget::new(2 * MIB);
        let mut in_lane = budget.room(1024).await;
        in_lane.grow_to(MIB).await;
        let other = budget.room(MIB).await;
        let mut piece = budget.room(MIB / 4).await;
        let grows = piece.grow_to(MIB / 2);
        tokio::pin!(grows);
        assert!(grows.as_mut().now_or_never().is_none());
        drop(other);
        assert!(grows.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_piece_larger_than_the_budget_waits_until_it_is_alone() {
        let budget = ByteBudget::new(MIB);
        let small = budget.room(1000).await;
        assert!(budget.room(MIB / 2).now_or_never().is_some());
        assert!(budget.room(1 << 40).now_or_never().is_none());
        drop(small);
        assert!(budget.room(1 << 40).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_budget_smaller_than_one_piece_still_fits_one() {
        let budget = ByteBudget::new(1);
        budget.room(20 * MIB).await;
    }
}
