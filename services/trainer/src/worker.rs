//! The worker: one run at a time, and what its errors mean.

use std::sync::Arc;

use anyhow::{Context, Error, Result, bail};
use async_trait::async_trait;
use maskline_messages::RunId;
use maskline_models::device::Compute;
use maskline_runtime::{BrokerError, WorkContext, Worker, telemetry};
use maskline_storage::{
    StorageError, Stores,
    lease::{HeldLease, LeaseProgress, LeaseWatch},
    records::{Run, RunState, Work},
};
use tokio::sync::Notify;

use crate::{
    checkpoint,
    course::{Course, Halt},
    hopeless::Hopeless,
    publish,
};

/// So often in a row may a run fail for reasons that nobody understands, or end the
/// process that trains it, before it is given up.
const MOST_FAILURES: u32 = 5;

/// Trains networks.
pub struct Trainer {
    stores: Stores,
    leases: LeaseWatch,
    wake: Arc<Notify>,
    compute: Compute,
    /// What decoded images may take, in bytes.
    image_memory: u64,
}

#[async_trait]
impl Worker for Trainer {
    fn name(&self) -> &'static str {
        "train"
    }

    fn wake(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    async fn work(&self, context: &WorkContext) -> Result<bool> {
        let claimed = self.leases.claim_any("train", &context.instance).await?;
        let Some(held) = claimed else {
            return Ok(false);
        };
        let &Work::Train(id) = held.work() else {
            bail!("{} is no training run", held.work());
        };
        let run = self.run(id).await?;
        let mut about = vec![
            ("maskline.run.id", id.to_string()),
            ("maskline.network", run.network.to_string()),
            ("maskline.dataset.id", run.dataset.to_string()),
        ];
        about.extend(run.job.map(|job| (telemetry::JOB_ID, job.to_string())));
        let traceparent = run.traceparent.clone();
        let training = self.see_to(run, held, context);
        telemetry::in_span_from(traceparent.as_deref(), "train", about, training).await?;
        Ok(true)
    }
}

impl Trainer {
    pub fn new(
        stores: Stores,
        leases: LeaseWatch,
        wake: Arc<Notify>,
        compute: Compute,
        image_memory: u64,
    ) -> Self {
        Self {
            stores,
            leases,
            wake,
            compute,
            image_memory,
        }
    }

    async fn run(&self, id: RunId) -> Result<Run> {
        let run = self.stores.catalog.run(id).await?;
        run.with_context(|| format!("run {id} is to be trained but not in the catalog"))
    }

    async fn see_to(&self, run: Run, held: HeldLease, context: &WorkContext) -> Result<()> {
        let halt = Halt {
            stopping: context.stopping.clone(),
            lost: held.lost_token(),
        };
        let (id, times) = (run.id, held.failures());
        if run.state == RunState::Open && times >= MOST_FAILURES {
            return self
                .give_up(id, &Hopeless::EndsTrainers { times }, held)
                .await;
        }
        let progress = held.progress();
        let error = match self.bring_to_an_end(run, &halt, progress, context).await {
            Ok(true) => return Ok(held.finish().await?),
            Ok(false) => {
                tracing::info!(run = %id, "given back, to be gone on with");
                return Ok(held.release().await?);
            }
            // Who has the run now decides what becomes of it.
            Err(error) if halt.lost.is_cancelled() => return Err(error),
            Err(error) => error,
        };
        match Verdict::of(&error, held.failures()) {
            Verdict::Hopeless(hopeless) => return self.give_up(id, &hopeless, held).await,
            Verdict::NotNow => held.release().await?,
            Verdict::Failed => held.fail().await?,
        }
        Err(error)
    }

    async fn give_up(&self, id: RunId, why: &Hopeless, held: HeldLease) -> Result<()> {
        tracing::error!(run = %id, error = %why, "the run failed");
        telemetry::given_up(&why.to_string());
        let mut run = self.run(id).await?;
        run.state = RunState::Failed;
        run.error = Some(why.to_string());
        self.stores.catalog.update_run(&run).await?;
        checkpoint::clear(&self.stores.objects, id).await?;
        Ok(held.finish().await?)
    }

    /// `false`: not ended, because the service is asked to stop.
    async fn bring_to_an_end(
        &self,
        run: Run,
        halt: &Halt,
        progress: LeaseProgress,
        context: &WorkContext,
    ) -> Result<bool> {
        let id = run.id;
        match run.state {
            RunState::Open => {
                let course = Course {
                    stores: self.stores.clone(),
                    run,
                    compute: self.compute.clone(),
                    image_memory: self.image_memory,
                    halt: halt.clone(),
                    progress,
                };
                let Some(product) = course.follow().await? else {
                    return Ok(false);
                };
                if halt.lost.is_cancelled() {
                    bail!("the lease on run {id} was lost: another trainer has it");
                }
                let mut run = self.run(id).await?;
                publish::publish(&self.stores, &mut run, product, context).await?;
            }
            // The trainer that published it died before it said so.
            RunState::Done => {
                if let Some(model) = self.stores.catalog.model(id).await? {
                    publish::announce(&model, context).await?;
                }
            }
            RunState::Failed => {}
        }
        checkpoint::clear(&self.stores.objects, id).await?;
        Ok(true)
    }
}

/// What an error means for the run.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// No retry helps.
    Hopeless(Hopeless),
    /// Storage or broker are away, and come back: it is tried for ever.
    NotNow,
    /// Nobody understands it: it is tried a few times.
    Failed,
}

impl Verdict {
    /// `earlier`: how often in a row the run has failed before.
    fn of(error: &Error, earlier: u32) -> Self {
        if let Some(hopeless) = error.downcast_ref::<Hopeless>() {
            return Self::Hopeless(hopeless.clone());
        }
        let outside = |cause: &(dyn std::error::Error + 'static)| {
            let storage = cause.downcast_ref::<StorageError>();
            storage.is_some_and(StorageError::is_transient) || cause.is::<BrokerError>()
        };
        if error.chain().any(outside) {
            return Self::NotNow;
        }
        match earlier + 1 {
            MOST_FAILURES.. => Self::Hopeless(Hopeless::TriedEnough {
                times: earlier + 1,
                error: format!("{error:#}"),
            }),
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use maskline_dataset::Split;
    use maskline_messages::{DatasetId, JobId, Label, NetworkName, ObjectKey, TrainingSettings};
    use maskline_storage::records::{Lease, now};

    use super::*;
    use crate::fixtures::{Drawing, Store, alone, compute};

    fn trainer(store: &Store) -> Trainer {
        let leases = LeaseWatch::lasting(store.catalog.clone(), Duration::from_secs(5));
        Trainer::new(store.stores(), leases, Arc::default(), compute(), 1 << 30)
    }

    /// Records a run as the stage does.
    async fn ask(store: &Store, dataset: DatasetId, settings: TrainingSettings) -> RunId {
        let network = NetworkName::MobilenetV3Small;
        let id = RunId::of(&dataset, network, &settings.canonical());
        let run = Run {
            id,
            dataset,
            job: Some(JobId::draw()),
            network,
            settings,
            state: RunState::Open,
            error: None,
            epoch: 0,
            accuracy: None,
            loss: None,
            device: None,
            traceparent: None,
            created: now(),
        };
        store.catalog.create_run(&run).await.unwrap();
        store.catalog.offer_work(&Work::Train(id)).await.unwrap();
        id
    }

    fn settings() -> TrainingSettings {
        TrainingSettings {
            epochs: 2,
            batch: 8,
            pixels: 32,
            ..TrainingSettings::default()
        }
    }

    async fn run(store: &Store, id: RunId) -> Run {
        store.catalog.run(id).await.unwrap().unwrap()
    }

    async fn checkpoints(store: &Store, id: RunId) -> usize {
        let folder = ObjectKey::checkpoints(id);
        let keys = store.objects.list(&folder, None, 100).await;
        keys.unwrap().len()
    }

    async fn object(store: &Store, key: ObjectKey) -> Bytes {
        store.objects.get(&key).await.unwrap()
    }

    async fn weights(store: &Store, id: RunId) -> Bytes {
        object(store, ObjectKey::model_weights(id)).await
    }

    async fn report(store: &Store, id: RunId) -> serde_json::Value {
        serde_json::from_slice(&object(store, ObjectKey::model_report(id)).await).unwrap()
    }

    #[tokio::test]
    async fn a_run_ends_in_a_model_with_its_report_and_news_of_it() {
        let _alone = alone().await;
        let store = Store::new().await;
        let dataset = store.dataset(&Drawing::default()).await;
        let id = ask(&store, dataset, settings()).await;
        let (trainer, context) = (trainer(&store), store.context("one"));
        assert!(trainer.work(&context).await.unwrap());

        let run = run(&store, id).await;
        assert_eq!((run.state, run.epoch, run.error), (RunState::Done, 2, None));
        assert_eq!(run.device, Some(compute().name));
        let model = store.catalog.model(id).await.unwrap().unwrap();
        assert_eq!(run.accuracy, Some(model.accuracy));
        let labels: Vec<&str> = model.classes.iter().map(Label::as_str).collect();
        assert_eq!((labels, model.pixels), (vec!["blue", "red"], 32));
        let card = maskline_models::weights::card(&weights(&store, id).await).unwrap();
        assert_eq!((card.network, card.classes), (model.network, model.classes));

        let report = report(&store, id).await;
        assert_eq!(report["network"], "mobilenet_v3_small");
        assert_eq!(report["parameters"], model.parameters);
        assert_eq!(report["epochs"].as_array().unwrap().len(), 2);
        assert_eq!(report["dataset"]["images"]["validation"]["red"], 8);
        assert_eq!(report["dataset"]["set_aside"], 1);
        let counts = report["confusion"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|row| row.as_array().unwrap());
        assert_eq!(counts.map(|count| count.as_u64().unwrap()).sum::<u64>(), 16);

        assert_eq!(store.news().await, 1);
        assert_eq!(checkpoints(&store, id).await, 0);
        assert!(
            !trainer.work(&context).await.unwrap(),
            "nothing is left to do"
        );
    }

    #[tokio::test]
    async fn the_page_says_all_of_it_and_asks_nothing_of_the_network() {
        let _alone = alone().await;
        let store = Store::new().await;
        let dataset = store.dataset(&Drawing::default()).await;
        // Nearly untrained, so that there are mistakes.
        let weak = TrainingSettings {
            epochs: 1,
            learning_rate: 1e-9,
            ..settings()
        };
        let id = ask(&store, dataset, weak).await;
        trainer(&store).work(&store.context("one")).await.unwrap();
        let page = object(&store, ObjectKey::model_report_page(id)).await;
        let page = String::from_utf8(page.into()).unwrap();
        for part in [
            "Layers",
            "Parameters",
            "Best validation loss",
            "Best validation accuracy",
            "Training time",
            "Confusion",
            "Worst mistakes",
            "images/s",
            "Set aside",
            "prefers-color-scheme",
            "<details>",
            "features.0.0",
            &dataset.to_string(),
            &compute().name,
        ] {
            assert!(page.contains(part), "no {part}");
        }
        assert_eq!(page.matches("<svg").count(), 2);
        let report = report(&store, id).await;
        let mistakes = report["mistakes"].as_array().unwrap();
        assert!(!mistakes.is_empty());
        assert_eq!(
            page.matches("src=\"data:image/jpeg;base64,").count(),
            mistakes.len()
        );
        assert!(page.contains(&mistakes[0]["image"].as_str().unwrap()[..12]));
        let outside = page.replace("http://www.w3.org/2000/svg", "");
        for request in ["http:", "https:", "url(", "<script", "<link", "@import"] {
            assert!(!outside.contains(request), "{request}");
        }
    }

    #[tokio::test]
    async fn a_trainer_that_is_stopped_gives_the_run_back_and_another_goes_on() {
        let _alone = alone().await;
        let store = Store::new().await;
        let dataset = store.dataset(&Drawing::default()).await;
        let id = ask(&store, dataset, settings()).await;
        let stopped = store.context("one");
        stopped.stopping.cancel();
        assert!(trainer(&store).work(&stopped).await.unwrap());
        assert_eq!(run(&store, id).await.state, RunState::Open);
        assert!(checkpoints(&store, id).await > 0);
        let lease = store.catalog.open_work("train").await.unwrap().remove(0);
        assert_eq!(lease.owner, None, "it can be claimed at once");

        assert!(trainer(&store).work(&store.context("two")).await.unwrap());
        assert_eq!(run(&store, id).await.state, RunState::Done);

        let straight = Store::new().await;
        let dataset = straight.dataset(&Drawing::default()).await;
        assert_eq!(ask(&straight, dataset, settings()).await, id);
        trainer(&straight)
            .work(&straight.context("one"))
            .await
            .unwrap();
        let interrupted = weights(&store, id).await;
        let undisturbed = weights(&straight, id).await;
        assert!(interrupted == undisturbed, "not the same network");
    }

    #[tokio::test]
    async fn a_trainer_that_lost_its_lease_writes_nothing() {
        let _alone = alone().await;
        let store = Store::new().await;
        let dataset = store.dataset(&Drawing::default()).await;
        let id = ask(&store, dataset, settings()).await;
        let halt = Halt::default();
        halt.lost.cancel();
        let course = Course {
            stores: store.stores(),
            run: run(&store, id).await,
            compute: compute(),
            image_memory: 1 << 30,
            halt,
            progress: LeaseProgress::default(),
        };
        let error = course.follow().await.err().unwrap();
        assert!(error.to_string().contains("lost"), "{error:#}");
        assert_eq!(checkpoints(&store, id).await, 0);
        assert_eq!(run(&store, id).await.epoch, 0);
    }

    #[tokio::test]
    async fn a_run_that_can_not_succeed_fails_and_says_what_to_do() {
        let _alone = alone().await;
        let store = Store::new().await;
        let one_class = Drawing {
            training: [24, 0],
            validation: [8, 0],
            ..Drawing::default()
        };
        let one_class = store.dataset(&one_class).await;
        let fine = store.dataset(&Drawing::default()).await;
        let wild = TrainingSettings {
            optimizer: maskline_messages::Optimizer::Sgd,
            learning_rate: 1e30,
            warmup_epochs: 0.0,
            ..settings()
        };
        let empty = TrainingSettings {
            batch: 0,
            ..settings()
        };
        let cases = [
            (
                ask(&store, DatasetId::of(b"none"), settings()).await,
                "maskline datasets",
            ),
            (
                ask(&store, one_class, settings()).await,
                "one class only, blue",
            ),
            (ask(&store, fine, wild).await, "lower learning rate"),
            (ask(&store, fine, empty).await, "batch can't be 0"),
        ];
        let (trainer, context) = (trainer(&store), store.context("one"));
        while trainer.work(&context).await.unwrap() {}
        for (id, expected) in cases {
            let run = run(&store, id).await;
            assert_eq!(run.state, RunState::Failed, "{run:?}");
            let error = run.error.unwrap();
            assert!(error.contains(expected), "{error}");
            assert_eq!(checkpoints(&store, id).await, 0);
        }
        assert_eq!(store.news().await, 0);
    }

    #[tokio::test]
    async fn a_damaged_shard_is_named() {
        let store = Store::new().await;
        let dataset = store.dataset(&Drawing::default()).await;
        let file = Split::Train.shard_file(1, 3);
        let key = ObjectKey::dataset_file(&dataset, &file).unwrap();
        store.objects.delete(&key).await.unwrap();
        store
            .objects
            .put(&key, Bytes::from_static(b"PAR1"))
            .await
            .unwrap();
        let id = ask(&store, dataset, settings()).await;
        trainer(&store).work(&store.context("one")).await.unwrap();
        let error = run(&store, id).await.error.unwrap();
        assert!(error.contains(&file), "{error}");
        assert!(error.contains("SHA-256"), "{error}");
    }

    #[tokio::test]
    async fn news_that_were_not_told_before_a_death_are_told_by_the_next() {
        let store = Store::new().await;
        let dataset = DatasetId::of(b"a dataset");
        let id = ask(&store, dataset, settings()).await;
        let mut done = run(&store, id).await;
        let model = maskline_storage::records::Model {
            id,
            dataset,
            network: done.network,
            classes: vec![],
            pixels: 32,
            parameters: 1,
            accuracy: 0.5,
            loss: 0.7,
            seconds: 1.0,
            created: now(),
        };
        store.catalog.publish_model(&model).await.unwrap();
        done.state = RunState::Done;
        store.catalog.update_run(&done).await.unwrap();
        let (trainer, context) = (trainer(&store), store.context("two"));
        assert!(trainer.work(&context).await.unwrap());
        assert_eq!(store.news().await, 1);
        assert!(!trainer.work(&context).await.unwrap());
    }

    #[test]
    fn what_nobody_understands_is_tried_a_few_times_and_what_comes_back_for_ever() {
        let away = Error::from(StorageError::unavailable("away".to_owned())).context("saving");
        assert_eq!(Verdict::of(&away, 3 * MOST_FAILURES), Verdict::NotNow);
        let odd = anyhow::anyhow!("odd");
        for earlier in 0..MOST_FAILURES - 1 {
            assert_eq!(Verdict::of(&odd, earlier), Verdict::Failed);
        }
        let Verdict::Hopeless(given_up) = Verdict::of(&odd, MOST_FAILURES - 1) else {
            panic!("it is tried once more");
        };
        let given_up = given_up.to_string();
        assert!(
            given_up.contains("5 times") && given_up.contains("odd"),
            "{given_up}"
        );
    }

    async fn lease(store: &Store) -> Lease {
        store.catalog.open_work("train").await.unwrap().remove(0)
    }

    /// Leaves the run as so many trainers do that died with it.
    async fn die_with(store: &Store, trainers: u32) {
        let died = store
            .catalog
            .acquire_lease(&lease(store).await, "dead")
            .await;
        let died = Lease {
            failures: trainers,
            ..died.unwrap().expect("nobody else takes it")
        };
        store.catalog.release_lease(&died).await.unwrap();
    }

    #[tokio::test]
    async fn a_run_that_ends_every_trainer_is_given_up_whoever_they_were() {
        let store = Store::new().await;
        let dataset = store.dataset(&Drawing::default()).await;
        let id = ask(&store, dataset, settings()).await;
        die_with(&store, MOST_FAILURES).await;
        trainer(&store).work(&store.context("last")).await.unwrap();
        let run = run(&store, id).await;
        assert_eq!(run.state, RunState::Failed, "{run:?}");
        let error = run.error.unwrap();
        assert!(error.contains("5 trainers in a row"), "{error}");
        assert!(error.contains("--batch"), "{error}");

        store.catalog.reopen_run(id).await.unwrap();
        assert_eq!(
            lease(&store).await.failures,
            0,
            "a person asks for it again"
        );
    }

    #[tokio::test]
    async fn a_checkpoint_forgets_the_trainers_that_died_before_it() {
        let _alone = alone().await;
        let store = Store::new().await;
        let dataset = store.dataset(&Drawing::default()).await;
        let id = ask(&store, dataset, settings()).await;
        die_with(&store, MOST_FAILURES - 1).await;
        let stopped = store.context("one");
        stopped.stopping.cancel();
        assert!(trainer(&store).work(&stopped).await.unwrap());
        assert!(checkpoints(&store, id).await > 0);
        assert_eq!(lease(&store).await.failures, 0);
    }
}
