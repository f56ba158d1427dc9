//! Training runs and models.

use maskline_messages::{NetworkName, SourceRole};
use maskline_storage::{
    StorageError,
    records::{Evaluation, Model, Run, RunState, SourceScore, SplitScore, Work},
};

use crate::{
    environment::Environment,
    samples::{acquire, label, lease_on, run},
};

contract! {
    runs_are_recorded_once_and_updated,
    a_reopened_run_is_as_if_nobody_had_begun_it,
    models_are_published,
}

/// With every field, and a name that has quotes and dots.
fn evaluation() -> Evaluation {
    let score = |role| SplitScore {
        images: 40,
        accuracy: 0.75,
        interval: [0.598, 0.858],
        loss: 0.5,
        recall: [(label("with_mask"), 0.5)].into(),
        sources: vec![SourceScore {
            source: "search \"a.b\" at openverse".to_owned(),
            role,
            images: 7,
            accuracy: 1.0,
            interval: Some([0.646, 1.0]),
        }],
        more_sources: 3,
    };
    Evaluation {
        validation: score(SourceRole::Train),
        test: Some(score(SourceRole::Test)),
    }
}

async fn runs_are_recorded_once_and_updated(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, two) = (run(1), run(2));
    for run in [&one, &two] {
        catalog.create_run(run).await.unwrap();
    }
    let progress = Run {
        state: RunState::Failed,
        error: Some("the loss is not a number".to_owned()),
        epoch: 3,
        accuracy: Some(0.937_5),
        loss: Some(0.123_456_78),
        evaluation: Some(evaluation()),
        device: Some("cpu (flex, 2 threads)".to_owned()),
        ..one.clone()
    };
    // The network and the time of creation can't be changed.
    let attempt = Run {
        created: 99,
        network: NetworkName::EfficientnetB0.into(),
        ..progress.clone()
    };
    catalog.update_run(&attempt).await.unwrap();
    catalog.create_run(&one).await.unwrap();
    assert_eq!(catalog.run(one.id).await, Ok(Some(progress.clone())));
    assert_eq!(catalog.run(two.id).await, Ok(Some(two.clone())));
    let all = vec![two.clone(), progress.clone()];
    assert_eq!(catalog.runs(None, 10).await, Ok(all.clone()));
    assert_eq!(catalog.runs(None, usize::MAX).await, Ok(all));
    assert_eq!(catalog.runs(None, 1).await, Ok(vec![two]));
    let of_one = catalog.runs(Some(&one.dataset), 10).await;
    assert_eq!(of_one, Ok(vec![progress]));

    let unknown = run(3);
    let not_found = StorageError::not_found(format!("run {}", unknown.id));
    assert_eq!(catalog.update_run(&unknown).await, Err(not_found));
    assert_eq!(catalog.run(unknown.id).await, Ok(None));
}

async fn a_reopened_run_is_as_if_nobody_had_begun_it(environment: &Environment) {
    let catalog = environment.catalog().await;
    let asked = run(1);
    let work = Work::Train(asked.id);
    catalog.create_run(&asked).await.unwrap();
    catalog.offer_work(&work).await.unwrap();
    let held = acquire(&*catalog, &work, "one").await;

    catalog.reopen_run(asked.id).await.unwrap();
    let lease = lease_on(&*catalog, &work).await;
    assert_eq!(lease, held, "one that is open is left to its trainer");

    let failed = Run {
        state: RunState::Failed,
        error: Some("no memory is left".to_owned()),
        epoch: 3,
        accuracy: Some(0.5),
        loss: Some(0.7),
        evaluation: Some(evaluation()),
        device: Some("cpu".to_owned()),
        ..asked.clone()
    };
    catalog.update_run(&failed).await.unwrap();
    catalog.reopen_run(asked.id).await.unwrap();
    assert_eq!(catalog.run(asked.id).await, Ok(Some(asked.clone())));
    assert_eq!(
        catalog.finish_work(&held).await,
        Ok(false),
        "who failed is late"
    );
    let lease = lease_on(&*catalog, &work).await;
    assert_eq!((lease.owner, lease.failures), (None, 0));

    let held = acquire(&*catalog, &work, "two").await;
    catalog.update_run(&failed).await.unwrap();
    assert_eq!(catalog.finish_work(&held).await, Ok(true));
    catalog.reopen_run(asked.id).await.unwrap();
    let held = acquire(&*catalog, &work, "three").await;
    let done = Run {
        state: RunState::Done,
        ..failed
    };
    catalog.update_run(&done).await.unwrap();
    assert_eq!(catalog.finish_work(&held).await, Ok(true));
    catalog.reopen_run(asked.id).await.unwrap();
    assert_eq!(catalog.run(asked.id).await, Ok(Some(done)));
    assert_eq!(catalog.open_work("train").await, Ok(vec![]));

    let unknown = run(2).id;
    let not_found = StorageError::not_found(format!("run {unknown}"));
    assert_eq!(catalog.reopen_run(unknown).await, Err(not_found));
}

async fn models_are_published(environment: &Environment) {
    let catalog = environment.catalog().await;
    let model = |number: u64| {
        let run = run(number);
        Model {
            id: run.id,
            dataset: run.dataset,
            network: run.network,
            classes: vec![label("with_mask"), label("without_mask")],
            pixels: 112,
            parameters: 1_519_906,
            accuracy: 0.96,
            loss: 0.1,
            evaluation: (number == 1).then(evaluation),
            seconds: 61.25,
            created: number,
        }
    };
    let (one, two) = (model(1), model(2));
    assert_eq!(catalog.model(one.id).await, Ok(None));
    for model in [&one, &two, &one] {
        catalog.publish_model(model).await.unwrap();
    }
    assert_eq!(catalog.model(one.id).await, Ok(Some(one.clone())));
    assert_eq!(catalog.models(10).await, Ok(vec![two.clone(), one]));
    assert_eq!(catalog.models(1).await, Ok(vec![two]));
}
