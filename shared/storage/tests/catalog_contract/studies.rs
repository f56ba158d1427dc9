//! Studies and the results of their trials.

use maskline_messages::{DatasetId, NetworkName, RunId, StudyId, TrainingSettings, TuningSearch};
use maskline_storage::{
    StorageError,
    records::{Study, StudyState, TrialOutcome, TrialResult, TrialRung, Work},
};
use uuid::Uuid;

use crate::{
    environment::Environment,
    samples::{acquire, lease_on},
};

contract! {
    studies_are_recorded_once_and_updated,
    the_first_result_of_a_rung_stays,
    a_reopened_study_forgets_its_failures_and_opens_their_work,
}

/// A study with three trials and two rungs.
fn study(number: u128) -> Study {
    let settings = |learning_rate| TrainingSettings {
        learning_rate,
        ..TrainingSettings::default()
    };
    Study {
        id: StudyId(Uuid::from_u128(number)),
        dataset: DatasetId::of(&number.to_be_bytes()),
        network: NetworkName::EfficientnetLite0,
        search: TuningSearch::Asha,
        trials: [2e-3, 1.23e-4, 0.1].map(settings).to_vec(),
        rungs: vec![1, 4],
        state: StudyState::Open,
        error: None,
        best: None,
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        created: 1_790_000_000_000,
    }
}

fn rung(study: &Study, trial: u32, rung: u32) -> TrialRung {
    TrialRung {
        study: study.id,
        trial,
        rung,
    }
}

fn scored(of: TrialRung, accuracy: f32) -> TrialResult {
    let loss = 0.123_456_78;
    TrialResult {
        of,
        outcome: TrialOutcome::Scored { accuracy, loss },
    }
}

fn failed(of: TrialRung) -> TrialResult {
    let error = "the loss is \"not\" a number".to_owned();
    TrialResult {
        of,
        outcome: TrialOutcome::Failed { error },
    }
}

async fn studies_are_recorded_once_and_updated(environment: &Environment) {
    let catalog = environment.catalog().await;
    let (one, two) = (study(1), study(2));
    for study in [&one, &two] {
        catalog.create_study(study).await.unwrap();
    }
    let done = Study {
        state: StudyState::Done,
        best: Some(2),
        ..one.clone()
    };
    // The trials and the rungs can't be changed.
    let attempt = Study {
        trials: vec![],
        rungs: vec![7],
        ..done.clone()
    };
    catalog.update_study(&attempt).await.unwrap();
    catalog.create_study(&one).await.unwrap();
    assert_eq!(catalog.study(one.id).await, Ok(Some(done.clone())));
    assert_eq!(catalog.study(two.id).await, Ok(Some(two)));
    assert_eq!(done.best_run(), Some(RunId::of_trial(one.id, 2)));

    let unknown = study(3);
    let not_found = StorageError::not_found(format!("study {}", unknown.id));
    let updated = catalog.update_study(&unknown).await;
    assert_eq!(updated, Err(not_found.clone()));
    assert_eq!(catalog.reopen_study(unknown.id).await, Err(not_found));
    assert_eq!(catalog.study(unknown.id).await, Ok(None));

    // The runs of trials are not listed with the others.
    assert_eq!(catalog.runs(None, 10).await, Ok(vec![]));
}

async fn the_first_result_of_a_rung_stays(environment: &Environment) {
    let (catalog, other) = (environment.catalog().await, environment.catalog().await);
    let (one, two) = (study(1), study(2));
    let late = scored(rung(&one, 0, 1), 0.75);
    let early = scored(rung(&one, 2, 0), 0.937_5);
    let lost = failed(rung(&one, 1, 0));
    for result in [&late, &early, &lost, &scored(rung(&two, 0, 0), 0.5)] {
        catalog.record_result(result).await.unwrap();
    }
    for again in [scored(lost.of, 0.99), failed(early.of)] {
        other.record_result(&again).await.unwrap();
    }
    let results = other.results(one.id).await;
    assert_eq!(results, Ok(vec![lost, early, late]), "by rung and trial");
    assert_eq!(catalog.results(study(3).id).await, Ok(vec![]));
}

async fn a_reopened_study_forgets_its_failures_and_opens_their_work(environment: &Environment) {
    let catalog = environment.catalog().await;
    let asked = study(1);
    catalog.create_study(&asked).await.unwrap();
    let (sound, broken) = (rung(&asked, 0, 0), rung(&asked, 1, 0));
    for of in [sound, broken] {
        let work = Work::Trial(of);
        catalog.offer_work(&work).await.unwrap();
        let held = acquire(&*catalog, &work, "one").await;
        assert_eq!(catalog.finish_work(&held).await, Ok(true));
    }
    let kept = scored(sound, 0.5);
    for result in [&kept, &failed(broken)] {
        catalog.record_result(result).await.unwrap();
    }
    catalog.reopen_study(asked.id).await.unwrap();
    let results = catalog.results(asked.id).await.unwrap();
    assert_eq!(results.len(), 2, "one that is open stays as it is");

    let failed = Study {
        state: StudyState::Failed,
        error: Some("no trial is left".to_owned()),
        ..asked.clone()
    };
    catalog.update_study(&failed).await.unwrap();
    catalog.reopen_study(asked.id).await.unwrap();
    assert_eq!(catalog.study(asked.id).await, Ok(Some(asked.clone())));
    assert_eq!(catalog.results(asked.id).await, Ok(vec![kept]));
    let open = catalog.open_work("trial").await.unwrap();
    assert_eq!(open.len(), 1, "{open:?}");
    let lease = lease_on(&*catalog, &Work::Trial(broken)).await;
    assert_eq!((lease.owner, lease.failures), (None, 0));
}
