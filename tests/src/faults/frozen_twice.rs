//! Two storers that freeze the same job at the same moment.
//!
//! The lease keeps them apart. Here it is taken out of the hands of the one that holds
//! it, as if its time had run out, so that the other takes it while the first goes on.

use std::time::Duration;

use maskline_storage::records::Work;
use tokio::time::sleep;

use super::{Trial, crew::Crew, proxy::Proxy, round::Round};
use crate::{
    place::{Place, Server},
    within,
};

/// What an answer of S3 takes longer, so that a freeze takes long enough.
const LATENCY: Duration = Duration::from_millis(300);

/// A freeze may be over before the other storer looks: this many times the dose is
/// tried.
const TRIES: u32 = 3;

/// What a storer says when it has frozen a job.
const FROZEN: &str = "the dataset is frozen";

pub async fn raced(trial: &mut Trial) {
    let place = Place::servers().await;
    let objects = Proxy::to(place.listens(Server::Objects)).await;
    objects.set_latency(LATENCY);
    let mut crew = Crew::start(&place, &["scraper", "validator", "labeler", "trainer"]).await;
    let eager = ("MASKLINE_WORKER_INTERVAL".to_owned(), "0.05".to_owned());
    for _ in 0..2 {
        let way = place.by_way_of(objects.address, Server::Objects);
        crew.join(&place, "storer", vec![way, eager.clone()]).await;
    }
    let mut round = Round::begin_with(trial, place, crew, &[]).await;
    for tries in 1.. {
        within("a storer that freezes the job", let_go(&round)).await;
        if !round.judge(trial).await {
            break;
        }
        if freezers(&round) == 2 {
            trial.struck("two storers froze the job");
        }
        if trial.faults() >= trial.dose.faults {
            break;
        }
        if tries == TRIES * trial.dose.faults {
            trial.problem(format_args!(
                "{tries} tries, and too few were frozen by both"
            ));
            break;
        }
        round.again().await;
    }
    round.end(trial).await;
}

/// Gives the job's freezing back as soon as a storer has it.
async fn let_go(round: &Round) {
    let catalog = &round.stores.catalog;
    loop {
        let work = catalog.open_work("freeze").await;
        let work = work.expect("the catalog answers").into_iter();
        let held = work.filter(|lease| lease.owner.is_some());
        let mut of_job = held.filter(|lease| lease.work == Work::Freeze(round.job));
        if let Some(lease) = of_job.next() {
            let released = catalog.release_lease(&lease).await;
            return released.expect("the catalog answers");
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Storers that say that they froze the job.
fn freezers(round: &Round) -> usize {
    let job = round.job.to_string();
    let froze = |said: String| {
        let mut lines = said.lines();
        lines.any(|line| line.contains(FROZEN) && line.contains(&job))
    };
    let members = round.crew.members.iter();
    members
        .filter(|member| froze(member.process.said()))
        .count()
}
