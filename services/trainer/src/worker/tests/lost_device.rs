//! Runs whose device is lost.

use super::*;
use crate::{
    checkpoint,
    learner::faults::{Fault, faulty},
};

/// A trainer whose device is lost whenever a run fails.
fn losing_trainer(store: &Embedded) -> Trainer {
    losing_trainer_on(store, compute())
}

fn losing_trainer_on(store: &Embedded, device: Compute) -> Trainer {
    Trainer {
        is_lost: |_| true,
        ..trainer_on(store, device)
    }
}

#[tokio::test]
async fn a_lost_device_ends_the_process_and_a_run_that_always_loses_it_is_given_up() {
    let store = Embedded::open().await;
    // It fails before its first checkpoint.
    let id = request(&store, DatasetId::of(b"none"), settings()).await;
    for loss in 1..=MAX_FAILURES {
        assert_eq!(run(&store, id).await.state, RunState::Open);
        let owner = format!("process {loss}");
        let work = losing_trainer(&store).work(&store.context(&owner)).await;
        let error = work.unwrap_err();
        assert!(error.is::<EndsProcess>(), "{error:#}");
        let goes_on = error.to_string().contains("from its last checkpoint");
        assert_eq!(goes_on, loss < MAX_FAILURES, "{error:#}");
    }
    let run = run(&store, id).await;
    assert_eq!(run.state, RunState::Failed, "{run:?}");
    let error = run.error.unwrap();
    for part in [
        "lost 5 times in a row",
        "maskline datasets",
        "--batch",
        "--device cpu",
    ] {
        assert!(error.contains(part), "no {part}: {error}");
    }
    assert!(
        store.catalog.open_work("train").await.unwrap().is_empty(),
        "nobody takes it again"
    );
}

#[tokio::test]
async fn a_checkpoint_resets_the_count_of_lost_devices() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    die_with(&store, MAX_FAILURES - 1).await;
    let stopped = store.context("one");
    stopped.stopping.cancel();
    assert!(losing_trainer(&store).work(&stopped).await.unwrap());
    assert!(checkpoints(&store, id).await > 0);
    // Then it can't be continued.
    let file = ObjectKey::dataset_file(&dataset, &Split::Train.shard_file(1, 3)).unwrap();
    store.objects.delete(&file).await.unwrap();
    let lost = losing_trainer(&store).work(&store.context("two")).await;
    assert!(lost.unwrap_err().is::<EndsProcess>());
    assert_eq!(lease(&store).await.failures, 1);
    assert_eq!(run(&store, id).await.state, RunState::Open);
}

/// A value as it is in a file of JSON.
fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

#[tokio::test]
async fn a_run_whose_device_is_lost_goes_on_from_its_checkpoint_on_what_is_left() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    let name = "a device that is lost in the second epoch";
    let device = faulty(name, Fault::Lost { in_epoch: 2 });
    let trainer_that_ends = losing_trainer_on(&store, device);
    let work = trainer_that_ends.work(&store.context("one")).await;
    let error = work.unwrap_err();
    assert!(error.is::<EndsProcess>(), "{error:#}");
    let text = error.to_string();
    assert!(text.starts_with(name), "{text}");
    assert!(text.contains("from its last checkpoint"), "{text}");
    assert_eq!(run(&store, id).await.state, RunState::Open);
    assert_eq!(lease(&store).await.owner, None, "it can be claimed at once");
    let saved = checkpoint::load(&store.objects, id).await.unwrap().unwrap();
    assert_eq!(saved.progress.epochs.len(), 1);

    assert!(trainer(&store).work(&store.context("two")).await.unwrap());
    let run = run(&store, id).await;
    assert_eq!((run.state, run.epoch, run.error), (RunState::Done, 2, None));
    let report = report(&store, id).await;
    let epochs = report["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 2);
    // Its speed is in it, too, which would be another if it were trained again.
    assert_eq!(epochs[0], json(&saved.progress.epochs[0]));
    let left = compute().name;
    assert_eq!(epochs[1]["device"], left);
    assert_eq!(report["devices"], json(&[name, left.as_str()]));
    assert!(store.catalog.model(id).await.unwrap().is_some());
    assert!(!weights(&store, id).await.is_empty());
    assert_eq!(store.waiting(Queue::StorerJobs).await, 1);
}

#[tokio::test]
async fn a_run_that_makes_a_checkpoint_before_each_loss_is_never_given_up() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    // In a row, so many losses as there are here would give it up.
    let epochs = MAX_FAILURES + 1;
    let long = TrainingSettings {
        epochs,
        ..settings()
    };
    let id = request(&store, dataset, long).await;
    for done in 1..epochs {
        let in_epoch = done as usize + 1;
        let name = format!("a device that is lost after epoch {done}");
        let device = faulty(&name, Fault::Lost { in_epoch });
        let trainer = losing_trainer_on(&store, device);
        let error = trainer.work(&store.context(&name)).await.unwrap_err();
        assert!(error.is::<EndsProcess>(), "{error:#}");
        assert_eq!(
            lease(&store).await.failures,
            1,
            "the checkpoint ends the row"
        );
        let run = run(&store, id).await;
        assert_eq!((run.state, run.epoch), (RunState::Open, done));
    }
    assert!(trainer(&store).work(&store.context("last")).await.unwrap());
    assert_eq!(run(&store, id).await.state, RunState::Done);
}
