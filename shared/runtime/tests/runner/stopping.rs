//! A graceful stop: what is in hand is finished, the rest given back.

use std::sync::Arc;

use maskline_messages::{CandidateFound, JobId, Queue};
use maskline_runtime::{BrokerAdmin, Outcome};
use tokio::sync::{Semaphore, mpsc::unbounded_channel};

use crate::{
    environment::{Environment, candidate, stub, within},
    watched::Event,
};

const CANDIDATES: Queue = Queue::ScraperCandidates;

#[tokio::test]
async fn a_stop_finishes_what_is_in_hand_and_leaves_the_rest_to_others() {
    let mut environment = Environment::new().await;
    let go_on = Arc::new(Semaphore::new(0));
    let (began, mut begun) = unbounded_channel();
    let waits_for = go_on.clone();
    let stage = stub("slow", move |_: CandidateFound, _| {
        let (began, go_on) = (began.clone(), waits_for.clone());
        async move {
            let _ = began.send(());
            go_on.acquire().await.expect("not closed").forget();
            Ok(Outcome::done())
        }
    });
    let job = JobId::draw();
    for n in 0..5 {
        environment.send(candidate(job, n)).await;
    }
    let running = environment.start(vec![stage]).await;
    within(begun.recv()).await;
    within(begun.recv()).await;

    running.stop.cancel();
    go_on.add_permits(5);

    running.stop().await;
    assert_eq!(environment.next().await, Event::Acked);
    assert_eq!(environment.next().await, Event::Acked);
    assert!(environment.is_quiet());
    assert!(begun.try_recv().is_err(), "no more than two were begun");
    let depths = environment
        .broker
        .depths()
        .await
        .expect("the broker answers");
    assert_eq!(depths[CANDIDATES.name()].ready, 3);
    assert_eq!(depths[CANDIDATES.name()].unsettled, 0);
}

#[tokio::test]
async fn a_message_that_outlasts_the_grace_period_is_delivered_again() {
    let mut environment = Environment::new().await;
    environment.args.grace = 0;
    let (began, mut begun) = unbounded_channel();
    let stage = stub("endless", move |_: CandidateFound, _| {
        let _ = began.send(());
        std::future::pending()
    });
    let message = candidate(JobId::draw(), 1);
    environment.send(message.clone()).await;
    let running = environment.start(vec![stage]).await;
    within(begun.recv()).await;

    running.stop().await;

    assert_eq!(environment.take(CANDIDATES).await, message.into());
}
