//! Turns, which several pieces of work take one after the other, so that only one of them at a
//! time holds what it reads in memory. Whoever waits for the network lets others go on meanwhile,
//! from its first request to the last byte of the answer: nothing of a server may be held while
//! others work, and no lock that is held on the network may be waited for with a turn.

use std::{cell::Cell, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

tokio::task_local! {
    /// The turn of the work that this task does. While it waits for the network it has none.
    static TURN: Cell<Option<OwnedSemaphorePermit>>;
}

/// Gives out turns.
pub(crate) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turns {
    /// Does the work when it is its turn.
    pub(crate) async fn take<T>(&self, work: impl Future<Output = T>) -> T {
        let turn = next(self.0.clone()).await;
        TURN.scope(Cell::new(Some(turn)), work).await
    }
}

/// Waits for something that takes long, without a turn. After that it waits for the next one. A
/// task that has no turn only waits.
pub(crate) async fn without_turn<T>(waiting: impl Future<Output = T>) -> T {
    let Some(turn) = TURN.try_with(Cell::take).ok().flatten() else {
        return waiting.await;
    };
    let turns = turn.semaphore().clone();
    drop(turn);
    let done = waiting.await;
    let turn = next(turns).await;
    TURN.with(|own| own.set(Some(turn)));
    done
}

async fn next(turns: Arc<Semaphore>) -> OwnedSemaphorePermit {
    turns.acquire_owned().await.expect("never closed")
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_works_at_a_time_while_others_wait_for_the_network() {
        let turns = Turns::default();
        let (sent, answer) = tokio::sync::oneshot::channel();
        let asking = turns.take(async {
            let answer = without_turn(without_turn(answer)).await;
            tokio::task::yield_now().await;
            answer
        });
        tokio::pin!(asking);
        assert!(asking.as_mut().now_or_never().is_none());
        assert!(turns.take(async {}).now_or_never().is_some());
        sent.send(7).unwrap();
        assert!(asking.as_mut().now_or_never().is_none(), "it works again");
        assert!(turns.take(async {}).now_or_never().is_none());
        assert_eq!(asking.await, Ok(7));
        assert!(turns.take(async {}).now_or_never().is_some());
    }

    #[tokio::test]
    async fn work_that_is_cut_off_gives_its_turn_back() {
        let turns = Turns::default();
        let cut_off = turns.take(pending::<()>()).now_or_never();
        assert!(cut_off.is_none());
        assert!(turns.take(async {}).now_or_never().is_some());
        without_turn(async {}).await;
    }
}
