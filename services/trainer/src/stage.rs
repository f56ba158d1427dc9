//! The stage. It records a run for each network that is to be trained, and each study.

use std::sync::Arc;

use async_trait::async_trait;
use maskline_messages::{
    DatasetId, DatasetReady, JobId, Method, RunId, TrainerRequests, TrainingChoices,
    TrainingRequested, TuningRequested,
};
use maskline_runtime::{Context, Failure, Handler, Outcome, telemetry};
use maskline_storage::{
    catalog::{Leases, Library, Studies},
    records::{Run, RunState, TrialRung, Work, now},
};
use tokio::sync::Notify;

use crate::tuning;

/// Records runs and studies. The worker trains them, because that takes longer than a delivery may be
/// held.
pub(crate) struct RequestHandler {
    pub(crate) library: Arc<dyn Library>,
    pub(crate) studies: Arc<dyn Studies>,
    pub(crate) leases: Arc<dyn Leases>,
    /// Notified when there is a run to work on.
    pub(crate) notify: Arc<Notify>,
}

#[async_trait]
impl Handler for RequestHandler {
    type Message = TrainerRequests;

    fn concurrency(&self) -> usize {
        1
    }

    async fn handle(
        &self,
        message: TrainerRequests,
        _context: &Context,
    ) -> Result<Outcome, Failure> {
        match message {
            TrainerRequests::DatasetReady(DatasetReady {
                job,
                dataset,
                networks,
                settings,
            }) => self.record(job, dataset, networks, settings).await?,
            TrainerRequests::TrainingRequested(TrainingRequested {
                dataset,
                networks,
                settings,
            }) => self.record(None, dataset, networks, settings).await?,
            TrainerRequests::TuningRequested(request) => self.record_study(&request).await?,
        }
        Ok(Outcome::done())
    }
}

impl RequestHandler {
    /// The run is recorded before the work, so that whoever claims the work finds its run. One that
    /// failed before is opened again.
    async fn record(
        &self,
        job: Option<JobId>,
        dataset: DatasetId,
        networks: Vec<Method>,
        choices: TrainingChoices,
    ) -> Result<(), Failure> {
        for network in networks {
            let settings = choices.settings(network);
            let id = RunId::of(&dataset, network, &settings);
            let run = Run {
                id,
                dataset,
                job,
                network,
                settings,
                state: RunState::Open,
                error: None,
                epoch: 0,
                accuracy: None,
                loss: None,
                evaluation: None,
                device: None,
                traceparent: telemetry::current_traceparent(),
                created: now(),
            };
            self.library.create_run(&run).await?;
            let known = self.library.run(id).await?;
            if known.is_some_and(|known| known.state == RunState::Failed) {
                self.library.reopen_run(id).await?;
            }
            self.leases.offer_work(&Work::Train(id)).await?;
            tracing::info!(run = %id, %network, %dataset, "a run is recorded, to be trained");
            self.notify.notify_one();
        }
        Ok(())
    }

    /// The study is recorded before the work, as a run is. Its trials are those that were recorded
    /// first: another build may draw others.
    async fn record_study(&self, request: &TuningRequested) -> Result<(), Failure> {
        request.validate().map_err(Failure::poison)?;
        let study = tuning::study(request, telemetry::current_traceparent());
        self.studies.create_study(&study).await?;
        for trial in study.indices() {
            let (study, rung) = (study.id, 0);
            let first = TrialRung { study, trial, rung };
            self.leases.offer_work(&Work::Trial(first)).await?;
        }
        let (id, network, trials) = (study.id, study.network, study.trials.len());
        tracing::info!(study = %id, %network, trials, "a study is recorded, to be tuned");
        self.notify.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use maskline_test_support::embedded::Embedded;

    use super::*;
    use maskline_messages::{NetworkName, StudyId, TuningSearch};

    fn handler(store: &Embedded) -> RequestHandler {
        RequestHandler {
            library: store.catalog.clone(),
            studies: store.catalog.clone(),
            leases: store.catalog.clone(),
            notify: Arc::default(),
        }
    }

    #[tokio::test]
    async fn each_network_is_one_run_however_often_it_is_asked_for() {
        let store = Embedded::open().await;
        let requests = handler(&store);
        let dataset = DatasetId::of(b"a dataset");
        let networks = [NetworkName::MobilenetV2, NetworkName::Mnasnet1_0]
            .map(Method::from)
            .to_vec();
        let settings = TrainingChoices::default();
        let ready: TrainerRequests = DatasetReady {
            job: Some(JobId::draw()),
            dataset,
            networks: networks.clone(),
            settings: settings.clone(),
        }
        .into();
        let asked: TrainerRequests = TrainingRequested {
            dataset,
            networks,
            settings,
        }
        .into();
        let again = ready.clone();
        for message in [ready.clone(), ready, asked] {
            requests.handle(message, &Context::default()).await.unwrap();
        }
        let runs = store.catalog.runs(None, 10).await.unwrap();
        assert_eq!(runs.len(), 2);
        assert!(
            runs.iter()
                .all(|run| run.job.is_some() && run.state == RunState::Open)
        );
        assert_eq!(store.catalog.open_work("train").await.unwrap().len(), 2);
        let failed = Run {
            state: RunState::Failed,
            error: Some("it failed".to_owned()),
            ..runs[0].clone()
        };
        store.catalog.update_run(&failed).await.unwrap();
        requests.handle(again, &Context::default()).await.unwrap();
        let run = store.catalog.run(failed.id).await.unwrap().unwrap();
        assert_eq!((run.state, run.error), (RunState::Open, None));
        tokio::time::timeout(
            std::time::Duration::from_secs(5),
            requests.notify.notified(),
        )
        .await
        .expect("the worker is notified");
    }

    #[tokio::test]
    async fn a_study_is_recorded_once_with_the_first_rung_of_each_trial() {
        let store = Embedded::open().await;
        let requests = handler(&store);
        let request = TuningRequested {
            dataset: DatasetId::of(b"a dataset"),
            network: NetworkName::MobilenetV2,
            trials: 3,
            search: TuningSearch::Asha,
            settings: TrainingChoices::default(),
        };
        for _ in 0..2 {
            let message = request.clone().into();
            let handled = requests.handle(message, &Context::default()).await;
            handled.unwrap();
        }
        let study = store.catalog.study(StudyId::of(&request)).await.unwrap();
        assert_eq!(study.expect("it is recorded").trials.len(), 3);
        let open = store.catalog.open_work("trial").await.unwrap();
        assert_eq!(open.len(), 3);
        let is_first = |work: &Work| matches!(work, Work::Trial(TrialRung { rung: 0, .. }));
        assert!(open.iter().all(|lease| is_first(&lease.work)), "{open:?}");
        assert!(store.catalog.runs(None, 10).await.unwrap().is_empty());

        let none = TuningRequested {
            trials: 0,
            ..request
        };
        let refused = requests.handle(none.into(), &Context::default()).await;
        assert!(matches!(refused, Err(Failure::Poison(_))));
    }

    #[tokio::test]
    async fn a_dataset_without_networks_to_train_makes_no_run() {
        let store = Embedded::open().await;
        let requests = handler(&store);
        let ready = DatasetReady {
            job: Some(JobId::draw()),
            dataset: DatasetId::of(b"a dataset"),
            networks: vec![],
            settings: TrainingChoices::default(),
        };
        requests
            .handle(ready.into(), &Context::default())
            .await
            .unwrap();
        assert!(store.catalog.runs(None, 10).await.unwrap().is_empty());
    }
}
