//! The jobs of one collection with everything that works on them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use maskline_messages::JobId;
use maskline_runtime::{Broker, BrokerError, broker::Depth};
use maskline_storage::{
    Stores,
    records::{JobState, RunState},
};
use maskline_test_support::{
    environment::{Environment, Server},
    wait::{self, within},
};
use tokio::time::sleep;

use super::{expected::Expected, replicas::Replicas, trial::Trial};
use crate::site::{Behaviour, Site};

/// The training that a job asks for when trainers are running. It lasts long enough to be
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

/// The limit of [`until`]. Even the slowest machine does not reach it, unless something
/// hangs.
const HANGS: Duration = Duration::from_secs(10 * 60);

/// The pause of [`until`].
const PAUSE: Duration = Duration::from_millis(200);

/// Sources of one collection in progress, and everything that has to do with them. Each source is a
/// job. The last of them has the collection frozen.
pub struct JobUnderTest {
    pub environment: Environment,
    pub replicas: Replicas,
    pub stores: Stores,
    pub broker: Arc<dyn Broker>,
    /// The last source.
    pub id: JobId,
    /// All sources, in the order in which they were enqueued.
    pub sources: Vec<JobId>,
    pub site: Site,
    pub expected: Arc<Expected>,
}

impl JobUnderTest {
    /// Enqueues the trial's collection for `replicas` to work on. Where trainers are among
    /// them, the job asks for a model.
    pub async fn enqueue(trial: &Trial, environment: Environment, replicas: Replicas) -> Self {
        let trains = |service| service == "trainer" || service == "run";
        let trains = replicas.all.iter().any(|replica| trains(replica.service));
        let training: &[&str] = if trains { &TRAINING } else { &[] };
        Self::enqueue_with(trial, environment, replicas, training).await
    }

    /// Enqueues the trial's collection with further arguments of `maskline enqueue`.
    pub async fn enqueue_with(
        trial: &Trial,
        environment: Environment,
        replicas: Replicas,
        args: &[&str],
    ) -> Self {
        let expected = Expected::for_trial(trial).await;
        let site = Site::serve(&expected.collection, Behaviour::default()).await;
        Self::enqueue_site(expected, site, environment, replicas, args).await
    }

    /// Enqueues the collection that `site` serves as several sources, the last of them with
    /// further arguments of `maskline enqueue`.
    pub async fn enqueue_site(
        expected: Arc<Expected>,
        site: Site,
        environment: Environment,
        replicas: Replicas,
        args: &[&str],
    ) -> Self {
        let sources = enqueue(&environment, &site, args).await;
        let id = sources[sources.len() - 1];
        Self {
            stores: environment.stores().await,
            broker: environment.broker().await,
            environment,
            replicas,
            id,
            sources,
            site,
            expected,
        }
    }

    /// Returns whether the jobs have ended: the last has failed, or the dataset is frozen and all
    /// training runs that it asked for have ended.
    pub async fn is_over(&self) -> bool {
        let catalog = &self.stores.catalog;
        let job = catalog.job(self.id).await.expect("the catalog answers");
        let job = job.expect("the job was enqueued");
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

    /// How many candidates are in flight.
    pub async fn in_flight(&self) -> u64 {
        let mut in_flight = 0;
        for source in &self.sources {
            let counts = self.stores.catalog.counts(*source).await;
            in_flight += counts.expect("the catalog answers").in_flight;
        }
        in_flight
    }

    /// Returns whether no message waits, no message is being handled and no work is open. The
    /// messages in the hands of a consumer that fell silent count as waiting until RabbitMQ
    /// notices, which takes a minute: then it delivers them again.
    pub async fn is_quiet(&self) -> bool {
        if self.replicas.silent_connections(Server::Broker) > 0 {
            return false;
        }
        if self.replicas.messages_in_flight().await > 0.0 {
            return false;
        }
        let depths = depths(&*self.broker).await;
        for kind in ["freeze", "train"] {
            let work = self.stores.catalog.open_work(kind).await;
            if !work.expect("the catalog answers").is_empty() {
                return false;
            }
        }
        let waiting = |depth: &Depth| depth.ready + depth.delayed;
        depths.values().all(|depth| waiting(depth) == 0)
    }
}

async fn enqueue(environment: &Environment, site: &Site, further: &[&str]) -> Vec<JobId> {
    let (lists, mut sources) = (site.parts(), vec![]);
    for (number, list) in lists.iter().enumerate() {
        let is_last = number + 1 == lists.len();
        let further = if is_last { further } else { &["--no-freeze"] };
        let args = ["urls", list, "--label-from", "column"];
        sources.push(environment.enqueue(&[&args, further].concat()).await);
    }
    sources
}

/// The messages in each queue. Each number is the larger of two answers, because RabbitMQ
/// calls a queue empty that it can't count at the moment.
pub async fn depths(broker: &dyn Broker) -> BTreeMap<String, Depth> {
    let ask = async || retried("depths", async || broker.depths().await).await;
    let mut depths = ask().await;
    for (queue, again) in ask().await {
        let depth = depths.entry(queue).or_default();
        depth.ready = depth.ready.max(again.ready);
        depth.delayed = depth.delayed.max(again.delayed);
        depth.unsettled = depth.unsettled.max(again.unsettled);
    }
    depths
}

/// The broker's answer. It is asked again when its connection was lost.
pub async fn retried<T>(what: &str, ask: impl AsyncFn() -> Result<T, BrokerError>) -> T {
    let answered = async {
        loop {
            match ask().await {
                Err(BrokerError::Unavailable { .. }) => sleep(PAUSE).await,
                answer => return answer.expect("the broker can be asked"),
            }
        }
    };
    within(what, answered).await
}

/// Waits until the condition holds. Returns `false` when that takes so long that something
/// hangs.
pub async fn until(condition: impl AsyncFn() -> bool) -> bool {
    wait::until(HANGS, PAUSE, condition).await
}
