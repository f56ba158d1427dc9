//! Runs whose device is lost.

use super::*;

/// A trainer whose device is lost whenever a run fails.
fn losing_trainer(store: &Embedded) -> Trainer {
    Trainer {
        is_lost: |_| true,
        ..trainer(store)
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
