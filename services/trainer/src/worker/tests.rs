mod lost_device;
mod memory;
mod probe;
mod start;
mod test_split;

use std::time::Duration;

use bytes::Bytes;
use maskline_dataset::Split;
use maskline_messages::{
    DatasetId, JobId, Label, Method, NetworkName, ObjectKey, Queue, RunId, TrainingSettings,
};
use maskline_models::temperature::Temperature;
use maskline_storage::{
    lease::LeaseProgress,
    records::{Lease, Run, RunState, now},
};
use maskline_test_support::embedded::Embedded;
use tokio::runtime::Handle;

use super::*;
use crate::{
    fixtures::{self, Drawing, alone, compute},
    run::TrainingRun,
};

fn trainer(store: &Embedded) -> Trainer {
    trainer_on(store, compute())
}

fn trainer_on(store: &Embedded, compute: Compute) -> Trainer {
    let leases = LeaseWatch::lasting(store.catalog.clone(), Duration::from_secs(5));
    let resources = Resources {
        compute,
        ..fixtures::resources(store)
    };
    Trainer::new(resources, leases, Arc::default())
}

/// Records a run of MobileNetV3-small as the stage does.
async fn request(store: &Embedded, dataset: DatasetId, settings: TrainingSettings) -> RunId {
    request_of(store, dataset, NetworkName::MobilenetV3Small, settings).await
}

/// Records a run as the stage does.
async fn request_of(
    store: &Embedded,
    dataset: DatasetId,
    method: impl Into<Method>,
    settings: TrainingSettings,
) -> RunId {
    let method = method.into();
    let id = RunId::of(&dataset, method, &settings);
    let run = Run {
        id,
        dataset,
        job: Some(JobId::draw()),
        network: method,
        settings,
        state: RunState::Open,
        error: None,
        epoch: 0,
        accuracy: None,
        loss: None,
        evaluation: None,
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

async fn run(store: &Embedded, id: RunId) -> Run {
    store.catalog.run(id).await.unwrap().unwrap()
}

async fn checkpoints(store: &Embedded, id: RunId) -> usize {
    let folder = ObjectKey::checkpoints(id);
    let keys = store.objects.list(&folder, None, 100).await;
    keys.unwrap().len()
}

async fn object(store: &Embedded, key: ObjectKey) -> Bytes {
    store.objects.get(&key).await.unwrap()
}

async fn weights(store: &Embedded, id: RunId) -> Bytes {
    object(store, ObjectKey::model_weights(id)).await
}

async fn report(store: &Embedded, id: RunId) -> serde_json::Value {
    serde_json::from_slice(&object(store, ObjectKey::model_report(id)).await).unwrap()
}

#[tokio::test]
async fn a_run_ends_in_a_model_with_a_report_and_a_message() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
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
    assert_eq!(card.network, model.network.network());
    assert_eq!(card.classes, model.classes);

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
    let validation = &report["evaluation"]["validation"];
    let interval = [&validation["interval"][0], &validation["interval"][1]];
    let [low, high] = interval.map(|bound| bound.as_f64().unwrap());
    let accuracy = validation["accuracy"].as_f64().unwrap();
    assert!((low..=high).contains(&accuracy) && high - low > 0.1);
    let calibration = &report["calibration"];
    assert_eq!(calibration["temperature"], card.temperature.get());
    assert_ne!(card.temperature, Temperature::ONE);
    for side in ["before", "after"] {
        let bins = calibration["validation"][side]["bins"].as_array().unwrap();
        let images = bins.iter().map(|bin| bin["images"].as_u64().unwrap());
        assert_eq!(images.sum::<u64>(), 16, "{side}");
    }
    let damaged = report["robustness"].as_array().unwrap();
    let kinds: Vec<_> = damaged
        .iter()
        .map(|row| row["corruption"].as_str())
        .collect();
    let kinds_of_damage = [
        Some("blur"),
        Some("jpeg"),
        Some("dark"),
        Some("low_resolution"),
    ];
    assert_eq!(kinds, [&[None], &kinds_of_damage[..]].concat());
    assert_eq!(damaged[0]["accuracy"], validation["accuracy"]);
    for (side, bound) in [low, high].into_iter().enumerate() {
        let undamaged = damaged[0]["interval"][side].as_f64().unwrap();
        assert!((undamaged - bound).abs() < 1e-6, "{:#}", damaged[0]);
    }

    assert_eq!(store.waiting(Queue::StorerJobs).await, 1);
    assert_eq!(checkpoints(&store, id).await, 0);
    assert!(
        !trainer.work(&context).await.unwrap(),
        "there is no other run"
    );
}

#[tokio::test]
async fn a_model_is_measured_again_as_its_report_says_with_its_temperature() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let drawing = Drawing {
        test: [3, 3],
        ..Drawing::default()
    };
    let dataset = drawing.freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    trainer(&store).work(&store.context("one")).await.unwrap();
    let report = report(&store, id).await;
    assert!(report["calibration"]["test"]["after"]["error"].is_number());
    let model = weights(&store, id).await;
    let (objects, jobs) = (&store.objects, &*store.catalog);
    let evaluation = crate::evaluate(objects, jobs, &dataset, model.clone(), compute());
    let measured = evaluation.await.unwrap();
    let close = |loss: f32, expected: &serde_json::Value| {
        (f64::from(loss) - expected.as_f64().unwrap()).abs() < 1e-4
    };
    assert!(
        close(measured.validation.loss, &report["loss"]),
        "{measured:?}"
    );
    let test = measured.test.unwrap();
    assert!(close(test.loss, &report["evaluation"]["test"]["loss"]));

    // Without the temperature the losses are others, and the accuracies the same.
    let mut card = maskline_models::weights::card(&model).unwrap();
    card.temperature = Temperature::ONE;
    let raw = maskline_models::weights::with_card(&model, &card).unwrap();
    let raw = crate::evaluate(objects, jobs, &dataset, raw.into(), compute()).await;
    let raw = raw.unwrap();
    assert!(!close(raw.validation.loss, &report["loss"]));
    assert_eq!(raw.validation.accuracy, measured.validation.accuracy);
}

#[tokio::test]
async fn the_page_shows_the_whole_report_and_loads_nothing() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    // The network is nearly untrained, so that there are mistakes.
    let weak = TrainingSettings {
        epochs: 1,
        learning_rate: 1e-9,
        ..settings()
    };
    let id = request(&store, dataset, weak).await;
    trainer(&store).work(&store.context("one")).await.unwrap();
    let page = object(&store, ObjectKey::model_report_page(id)).await;
    let page = String::from_utf8(page.into()).unwrap();
    for part in [
        "Layers",
        "Parameters",
        "Validation loss",
        "Validation accuracy",
        "Training time",
        "Confusion",
        "Probabilities",
        "Damaged pictures",
        "There are only 16 validation images",
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
    assert_eq!(page.matches("<svg").count(), 4);
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
async fn a_trainer_that_is_stopped_gives_the_run_back_and_another_resumes_it() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    let stopped = store.context("one");
    stopped.stopping.cancel();
    assert!(trainer(&store).work(&stopped).await.unwrap());
    assert_eq!(run(&store, id).await.state, RunState::Open);
    assert!(checkpoints(&store, id).await > 0);
    let lease = store.catalog.open_work("train").await.unwrap().remove(0);
    assert_eq!(lease.owner, None, "the run can be claimed at once");

    assert!(trainer(&store).work(&store.context("two")).await.unwrap());
    assert_eq!(run(&store, id).await.state, RunState::Done);

    let straight = Embedded::open().await;
    let dataset = Drawing::default().freeze(&straight.objects).await;
    assert_eq!(request(&straight, dataset, settings()).await, id);
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
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    let interrupt = Interrupt::default();
    interrupt.lease_lost.cancel();
    let training = TrainingRun {
        objects: store.objects.clone(),
        library: store.catalog.clone(),
        jobs: store.catalog.clone(),
        record: run(&store, id).await,
        compute: compute(),
        image_memory: 1 << 30,
        interrupt,
        lease_progress: LeaseProgress::default(),
        is_trial: false,
    };
    let runtime = Handle::current();
    let executed = tokio::task::spawn_blocking(move || training.execute(&runtime));
    let error = executed.await.unwrap().err().unwrap();
    assert!(error.to_string().contains("lost"), "{error:#}");
    assert_eq!(checkpoints(&store, id).await, 0);
    assert_eq!(run(&store, id).await.epoch, 0);
}

#[tokio::test]
async fn a_run_that_cannot_succeed_fails_and_says_what_to_do() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let one_class = Drawing {
        training: [24, 0],
        validation: [8, 0],
        ..Drawing::default()
    };
    let one_class = one_class.freeze(&store.objects).await;
    let fine = Drawing::default().freeze(&store.objects).await;
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
            request(&store, DatasetId::of(b"none"), settings()).await,
            "maskline datasets",
        ),
        (
            request(&store, one_class, settings()).await,
            "one class only, blue",
        ),
        (request(&store, fine, wild).await, "lower learning rate"),
        (request(&store, fine, empty).await, "batch can't be 0"),
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
    assert_eq!(store.waiting(Queue::StorerJobs).await, 0);
}

#[tokio::test]
async fn a_damaged_shard_is_named() {
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let file = Split::Train.shard_file(1, 3);
    let key = ObjectKey::dataset_file(&dataset, &file).unwrap();
    store.objects.delete(&key).await.unwrap();
    store
        .objects
        .put(&key, Bytes::from_static(b"PAR1"))
        .await
        .unwrap();
    let id = request(&store, dataset, settings()).await;
    trainer(&store).work(&store.context("one")).await.unwrap();
    let error = run(&store, id).await.error.unwrap();
    assert!(error.contains(&file), "{error}");
    assert!(error.contains("SHA-256"), "{error}");
}

#[tokio::test]
async fn a_message_that_a_dead_trainer_did_not_send_is_sent_by_the_next() {
    let store = Embedded::open().await;
    let dataset = DatasetId::of(b"a dataset");
    let id = request(&store, dataset, settings()).await;
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
        evaluation: None,
        seconds: 1.0,
        created: now(),
    };
    store.catalog.publish_model(&model).await.unwrap();
    done.state = RunState::Done;
    store.catalog.update_run(&done).await.unwrap();
    let (trainer, context) = (trainer(&store), store.context("two"));
    assert!(trainer.work(&context).await.unwrap());
    assert_eq!(store.waiting(Queue::StorerJobs).await, 1);
    assert!(!trainer.work(&context).await.unwrap());
}

#[test]
fn an_unknown_error_is_retried_a_few_times_and_an_outage_for_ever() {
    let away = Error::from(StorageError::unavailable("away".to_owned())).context("saving");
    assert_eq!(Verdict::of(&away, 3 * MAX_FAILURES), Verdict::RetryForever);
    let odd = anyhow::anyhow!("odd");
    for earlier in 0..MAX_FAILURES - 1 {
        assert_eq!(Verdict::of(&odd, earlier), Verdict::Retry);
    }
    let Verdict::GiveUp(given_up) = Verdict::of(&odd, MAX_FAILURES - 1) else {
        panic!("it is retried once more");
    };
    let given_up = given_up.to_string();
    assert!(
        given_up.contains("5 times") && given_up.contains("odd"),
        "{given_up}"
    );
}

async fn lease(store: &Embedded) -> Lease {
    store.catalog.open_work("train").await.unwrap().remove(0)
}

/// Leaves the lease as this number of trainers does that died with the run.
async fn die_with(store: &Embedded, trainers: u32) {
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
async fn a_run_that_ends_every_trainer_is_given_up() {
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    die_with(&store, MAX_FAILURES).await;
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
async fn a_checkpoint_resets_the_count_of_trainers_that_died() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    die_with(&store, MAX_FAILURES - 1).await;
    let stopped = store.context("one");
    stopped.stopping.cancel();
    assert!(trainer(&store).work(&stopped).await.unwrap());
    assert!(checkpoints(&store, id).await > 0);
    assert_eq!(lease(&store).await.failures, 0);
}
