//! A bound on the bytes that all pieces of work in hand take together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for so many bytes, given out first come, first served, so that large pieces do not
/// wait for ever.
///
/// A piece of known size waits until there is room for all of it. One of unknown size
/// begins small and [grows](ByteRoom::grow_to) while there is room. When there is no room, it
/// waits for its turn in the overflow lane. One piece at a time is in the lane. It grows
/// without a bound and waits for nobody, so no piece waits for ever. The pieces together take
/// at most the total and one largest piece.
#[derive(Clone)]
pub struct ByteBudget {
    // In KiB, because a semaphore counts to 2^32 at a time.
    shared: Arc<Semaphore>,
    total: u32,
    lane: Arc<Semaphore>,
}

impl ByteBudget {
    /// Room for `total` bytes.
    pub fn new(total: u64) -> Self {
        let total = kib(total);
        Self {
            shared: Arc::new(Semaphore::new(total as usize)),
            total,
            lane: Arc::new(Semaphore::new(1)),
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
        while self.lane.is_none() && self.bytes < bytes {
            let more = self.bytes;
            match self.budget.shared.clone().try_acquire_many_owned(kib(more)) {
                Ok(permit) => {
                    self.permits.push(permit);
                    self.bytes += more;
                }
                Err(_) => {
                    let (shared, lane) = (&self.budget.shared, &self.budget.lane);
                    // Whatever comes first, so that a slow piece in the lane holds up no others
                    // while there is room besides.
                    tokio::select! {
                        lane = lane.clone().acquire_owned() => {
                            self.lane = Some(lane.expect("never closed"));
                        }
                        permit = shared.clone().acquire_many_owned(kib(more)) => {
                            self.permits.push(permit.expect("never closed"));
                            self.bytes += more;
                        }
                    }
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
