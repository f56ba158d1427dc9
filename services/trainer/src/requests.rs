//! The stage: what is to be trained becomes a run of each network.

use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use maskline_messages::{
    DatasetId, DatasetReady, JobId, Message, NetworkName, Queue, RunId, TrainingRequested,
    TrainingSettings,
};
use maskline_runtime::{Context, Failure, Intake, Outcome, Stage, telemetry};
use maskline_storage::{
    catalog::{Leases, Library},
    records::{Run, RunState, Work, now},
};
use tokio::sync::Notify;

use crate::NAME;

/// Records runs; the work on them is done elsewhere, because it takes longer
/// than a delivery may be held.
pub struct Requests {
    pub library: Arc<dyn Library>,
    pub leases: Arc<dyn Leases>,
    /// Notified when there is a run to work on.
    pub wake: Arc<Notify>,
}

#[async_trait]
impl Stage for Requests {
    fn name(&self) -> &'static str {
        NAME
    }

    fn intakes(&self) -> Vec<Intake> {
        vec![Intake {
            queue: Queue::TrainerRequests,
            concurrency: 1,
        }]
    }

    async fn handle(&self, message: Message, _context: &Context) -> Result<Outcome, Failure> {
        match message {
            Message::DatasetReady(DatasetReady {
                job,
                dataset,
                networks,
                settings,
            }) => self.record(Some(job), dataset, networks, settings).await?,
            Message::TrainingRequested(TrainingRequested {
                dataset,
                networks,
                settings,
            }) => self.record(None, dataset, networks, settings).await?,
            other => {
                return Err(Failure::poison(anyhow!(
                    "the trainer has no use for {}",
                    other.key()
                )));
            }
        }
        Ok(Outcome::done())
    }
}

impl Requests {
    /// The run first, then the work: whoever claims the work finds its run.
    async fn record(
        &self,
        job: Option<JobId>,
        dataset: DatasetId,
        networks: Vec<NetworkName>,
        settings: TrainingSettings,
    ) -> Result<(), Failure> {
        for network in networks {
            let id = RunId::of(&dataset, network, &settings.canonical());
            let run = Run {
                id,
                dataset,
                job,
                network,
                settings: settings.clone(),
                state: RunState::Open,
                error: None,
                epoch: 0,
                accuracy: None,
                loss: None,
                device: None,
                traceparent: telemetry::current_traceparent(),
                created: now(),
            };
            self.library.create_run(&run).await?;
            self.leases.offer_work(&Work::Train(id)).await?;
            tracing::info!(run = %id, %network, %dataset, "to be trained");
            self.wake.notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Store;

    fn context() -> Context {
        Context {
            attempts: 0,
            last_attempt: false,
            trace_id: None,
        }
    }

    #[tokio::test]
    async fn each_network_is_one_run_however_often_it_is_asked_for() {
        let store = Store::new().await;
        let requests = Requests {
            library: store.catalog.clone(),
            leases: store.catalog.clone(),
            wake: Arc::default(),
        };
        let dataset = DatasetId::of(b"a dataset");
        let networks = vec![NetworkName::MobilenetV2, NetworkName::Mnasnet1_0];
        let settings = TrainingSettings::default();
        let ready: Message = DatasetReady {
            job: JobId::draw(),
            dataset,
            networks: networks.clone(),
            settings: settings.clone(),
        }
        .into();
        let asked: Message = TrainingRequested {
            dataset,
            networks,
            settings,
        }
        .into();
        for message in [ready.clone(), ready, asked] {
            requests.handle(message, &context()).await.unwrap();
        }
        let runs = store.catalog.runs(None, 10).await.unwrap();
        assert_eq!(runs.len(), 2);
        assert!(
            runs.iter()
                .all(|run| run.job.is_some() && run.state == RunState::Open)
        );
        assert_eq!(store.catalog.open_work("train").await.unwrap().len(), 2);
        tokio::time::timeout(std::time::Duration::from_secs(5), requests.wake.notified())
            .await
            .expect("the worker is woken");
    }

    #[tokio::test]
    async fn a_dataset_that_nothing_is_to_be_trained_on_makes_no_run() {
        let store = Store::new().await;
        let requests = Requests {
            library: store.catalog.clone(),
            leases: store.catalog.clone(),
            wake: Arc::default(),
        };
        let ready = DatasetReady {
            job: JobId::draw(),
            dataset: DatasetId::of(b"a dataset"),
            networks: vec![],
            settings: TrainingSettings::default(),
        };
        requests.handle(ready.into(), &context()).await.unwrap();
        assert!(store.catalog.runs(None, 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn other_messages_are_poison() {
        let store = Store::new().await;
        let requests = Requests {
            library: store.catalog.clone(),
            leases: store.catalog.clone(),
            wake: Arc::default(),
        };
        let message = maskline_messages::SourceExpanded {
            job: JobId::draw(),
            found: 0,
        };
        let refused = requests.handle(message.into(), &context()).await;
        assert!(matches!(refused, Err(Failure::Poison(_))));
    }
}
