//! One job with its services, from its begin to the verdict.

use std::{sync::Arc, time::Duration};

use maskline_messages::JobId;
use maskline_runtime::Broker;
use maskline_storage::{
    Stores,
    records::{JobState, RunState},
};
use tokio::time::{Instant, sleep};

use super::{Trial, crew::Crew, truth::Truth, verdict};
use crate::{
    place::Place,
    site::{Manners, Site},
};

/// What is trained on a job's dataset, where trainers are at hand: enough to be
/// disturbed.
const TRAINING: [&str; 8] = [
    "--train",
    "mobilenet_v3_small",
    "--pixels",
    "32",
    "--epochs",
    "2",
    "--batch",
    "64",
];

/// Reached only by what hangs, on the slowest machine.
const HANGS: Duration = Duration::from_secs(10 * 60);

/// Lines of each service that are shown where a job hangs, the last first.
const LAST_WORDS: usize = 5;

/// How often it is looked whether something is so.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A job on its way, and all that has to do with it.
pub struct Round {
    pub place: Place,
    pub crew: Crew,
    pub stores: Stores,
    pub broker: Arc<dyn Broker>,
    pub job: JobId,
    pub site: Site,
    pub truth: Arc<Truth>,
}

impl Round {
    /// Enqueues the trial's collection at `place`, for `crew` to work on. Where there
    /// are trainers they get something to do.
    pub async fn begin(trial: &Trial, place: Place, crew: Crew) -> Self {
        let trains = |service| service == "trainer" || service == "run";
        let trains = crew.members.iter().any(|one| trains(one.service));
        let training: &[&str] = if trains { &TRAINING } else { &[] };
        Self::begin_with(trial, place, crew, training).await
    }

    /// The same with further arguments of `maskline enqueue`.
    pub async fn begin_with(trial: &Trial, place: Place, crew: Crew, further: &[&str]) -> Self {
        let truth = Truth::of(trial).await;
        let site = Site::serve(&truth.collection, Manners::default()).await;
        Self::begin_on(truth, site, place, crew, further).await
    }

    /// The same on a site that is prepared for it.
    pub async fn begin_on(
        truth: Arc<Truth>,
        site: Site,
        place: Place,
        crew: Crew,
        further: &[&str],
    ) -> Self {
        let job = enqueue(&place, &site, further).await;
        Self {
            stores: place.stores().await,
            broker: place.broker().await,
            place,
            crew,
            job,
            site,
            truth,
        }
    }

    /// Enqueues the same collection as another job.
    pub async fn again(&mut self) {
        self.job = enqueue(&self.place, &self.site, &[]).await;
    }

    /// Whether the job has come to its end: its dataset is frozen and what was to be
    /// trained is, or it has failed.
    pub async fn is_over(&self) -> bool {
        let catalog = &self.stores.catalog;
        let job = catalog.job(self.job).await.expect("the catalog answers");
        let job = job.expect("it was enqueued");
        match (job.state, job.dataset) {
            (JobState::Failed, _) => true,
            (JobState::Frozen, Some(dataset)) => {
                let runs = catalog.runs(Some(&dataset), 10).await;
                let runs = runs.expect("the catalog answers");
                let ended = runs.iter().filter(|run| run.state != RunState::Open);
                ended.count() >= job.train.len()
            }
            _ => false,
        }
    }

    /// Candidates that have not come to their ends.
    pub async fn in_flight(&self) -> u64 {
        let books = self.stores.catalog.counts(self.job).await;
        books.expect("the catalog answers").in_flight
    }

    /// Whether nothing is on its way any more, and nobody works.
    pub async fn is_quiet(&self) -> bool {
        if self.crew.in_hand().await > 0.0 {
            return false;
        }
        let depths = verdict::depths(&*self.broker).await;
        for kind in ["freeze", "train"] {
            let work = self.stores.catalog.open_work(kind).await;
            if !work.expect("the catalog answers").is_empty() {
                return false;
            }
        }
        let left = |depth: &maskline_runtime::broker::Depth| depth.ready + depth.delayed;
        depths.values().all(|depth| left(depth) == 0)
    }

    /// Waits for the end of the job and until all is quiet, and judges what is there.
    /// Whether it came to an end.
    pub async fn judge(&mut self, trial: &mut Trial) -> bool {
        for problem in self.crew.deserters() {
            trial.problem(problem);
        }
        let ended = until(async || self.is_over().await && self.is_quiet().await);
        if !ended.await {
            let job = self.job.to_string();
            let status = self.place.maskline(&["status", &job]).await;
            trial.problem(format_args!("the job does not come to its end:\n{status}"));
            for member in &self.crew.members {
                let said = member.process.said();
                let last: Vec<&str> = said.lines().rev().take(LAST_WORDS).collect();
                trial.say(format_args!("{} said: {last:#?}", member.title()));
            }
            return false;
        }
        for problem in verdict::judge(self, &self.truth).await {
            trial.problem(problem);
        }
        true
    }

    /// Judges, and leaves nothing.
    pub async fn end(mut self, trial: &mut Trial) {
        if self.judge(trial).await {
            for problem in self.crew.stop().await {
                trial.problem(problem);
            }
            // What a service that stopped had in hand, or gave back, would be there now.
            for problem in verdict::of_broker(&*self.broker).await {
                trial.problem(problem);
            }
            let books = self.truth.collection.books();
            trial.say(format_args!("judged: {} candidates", books["found"]));
        }
        self.broker.close().await;
        self.place.remove().await;
    }
}

async fn enqueue(place: &Place, site: &Site, further: &[&str]) -> JobId {
    let list = site.list();
    let args = ["urls", &list, "--label-from", "column"];
    place.enqueue(&[&args, further].concat()).await
}

/// Whether it becomes so before its patience ends.
pub async fn until(is_so: impl AsyncFn() -> bool) -> bool {
    let end = Instant::now() + HANGS;
    while Instant::now() < end {
        if is_so().await {
            return true;
        }
        sleep(LOOK_EVERY).await;
    }
    false
}
