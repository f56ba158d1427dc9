use std::{sync::Arc, time::Duration};

use maskline_messages::{
    DatasetId, NetworkName, Optimizer, RunId, TrainerRequests, TrainingChoices, TuningRequested,
    TuningSearch,
};
use maskline_runtime::{Context as MessageContext, Handler, Worker};
use maskline_storage::{lease::LeaseWatch, records::RunState};
use maskline_test_support::embedded::Embedded;
use tokio::sync::Notify;

use super::*;
use crate::{
    fixtures::{self, Drawing, alone},
    stage::RequestHandler,
    worker::Trainer,
};

fn trainer(store: &Embedded) -> Trainer {
    let leases = LeaseWatch::lasting(store.catalog.clone(), Duration::from_secs(5));
    Trainer::new(fixtures::resources(store), leases, Arc::default())
}

fn request(dataset: DatasetId, trials: u32) -> TuningRequested {
    TuningRequested {
        dataset,
        network: NetworkName::MobilenetV3Small,
        trials,
        search: TuningSearch::Asha,
        settings: TrainingChoices {
            epochs: Some(3),
            batch: Some(8),
            pixels: Some(32),
            ..TrainingChoices::default()
        },
    }
}

/// Asks for a study as a message does. Returns it as it is recorded.
async fn ask(store: &Embedded, request: TuningRequested) -> Study {
    let handler = RequestHandler {
        library: store.catalog.clone(),
        studies: store.catalog.clone(),
        leases: store.catalog.clone(),
        notify: Arc::<Notify>::default(),
    };
    let id = maskline_messages::StudyId::of(&request);
    let message = TrainerRequests::from(request);
    let handled = handler.handle(message, &MessageContext::default()).await;
    handled.unwrap();
    recorded(store, id).await
}

async fn recorded(store: &Embedded, id: maskline_messages::StudyId) -> Study {
    store.catalog.study(id).await.unwrap().unwrap()
}

async fn results(store: &Embedded, study: &Study) -> Vec<TrialResult> {
    store.catalog.results(study.id).await.unwrap()
}

async fn work_to_the_end(store: &Embedded) {
    let (trainer, context) = (trainer(store), store.context("one"));
    while trainer.work(&context).await.unwrap() {}
}

async fn checkpoints(store: &Embedded, run: RunId) -> usize {
    let folder = ObjectKey::checkpoints(run);
    let keys = store.objects.list(&folder, None, 100).await;
    keys.unwrap().len()
}

#[tokio::test]
async fn a_study_ends_in_the_model_of_its_best_trial_and_a_report() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let study = ask(&store, request(dataset, 4)).await;
    assert_eq!((study.trials.len(), &study.rungs[..]), (4, &[1, 3][..]));
    assert_eq!(
        ask(&store, request(dataset, 4)).await,
        study,
        "it is the same"
    );
    work_to_the_end(&store).await;

    let ended = recorded(&store, study.id).await;
    assert_eq!((ended.state, &ended.error), (StudyState::Done, &None));
    let results = results(&store, &study).await;
    let standing = standing(&study, &results);
    assert!(standing.complete);
    assert_eq!(ended.best, standing.best);
    let (best, run) = (ended.best.unwrap(), ended.best_run().unwrap());

    // The model is that of the last rung, and the only run that is listed.
    let model = store.catalog.model(run).await.unwrap().unwrap();
    let Some(TrialOutcome::Scored { accuracy, .. }) = outcome(&results, 1, best) else {
        panic!("the best trial did not come to the last rung");
    };
    assert_eq!(model.accuracy, *accuracy);
    let runs = store.catalog.runs(None, 10).await.unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].id, runs[0].state), (run, RunState::Done));
    assert_eq!(runs[0].epoch, 3);
    assert_eq!(runs[0].settings, study.trials[best as usize]);
    for trial in study.indices() {
        let run = RunId::of_trial(study.id, trial);
        assert_eq!(checkpoints(&store, run).await, 0, "trial {trial}");
    }

    let report = store.objects.get(&ObjectKey::study_report(study.id)).await;
    let report: serde_json::Value = serde_json::from_slice(&report.unwrap()).unwrap();
    assert_eq!(report["best"], best);
    assert_eq!(report["model"], run.to_string());
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 4);
    assert_eq!(trials[best as usize]["end"], "best");
    assert_eq!(trials[0]["rungs"][0]["epochs"], 1);
    let page = ObjectKey::study_report_page(study.id);
    let page = store.objects.get(&page).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    let varied = maskline_messages::tunable::varied(&study.trials);
    assert!(varied.len() >= 4, "not even the learning rate");
    assert_eq!(page.matches("<svg").count(), varied.len());
    for part in ["Best trial", "learning rate", "after 3 epochs", "(ASHA)"] {
        assert!(page.contains(part), "no {part}");
    }
    let outside = page.replace("http://www.w3.org/2000/svg", "");
    for request in ["http:", "https:", "url(", "<script", "<link", "@import"] {
        assert!(!outside.contains(request), "{request}");
    }
}

#[tokio::test]
async fn a_trial_that_is_interrupted_and_taken_over_has_the_same_result() {
    let _alone = alone().await;
    let (straight, disturbed) = (Embedded::open().await, Embedded::open().await);
    let mut all = vec![];
    for store in [&straight, &disturbed] {
        let dataset = Drawing::default().freeze(&store.objects).await;
        let request = TuningRequested {
            search: TuningSearch::Random,
            ..request(dataset, 2)
        };
        let study = ask(store, request).await;
        let mut number = 0;
        if std::ptr::eq(store, &disturbed) {
            // Each trainer is stopped after its first step, and the next goes on.
            for _ in 0..2 {
                let stopped = store.context(&format!("stopped {number}"));
                stopped.stopping.cancel();
                assert!(trainer(store).work(&stopped).await.unwrap());
                number += 1;
            }
            assert_eq!(results(store, &study).await, []);
        }
        work_to_the_end(store).await;
        all.push((
            results(store, &study).await,
            recorded(store, study.id).await.best,
        ));
    }
    assert_eq!(all[0].0.len(), 2);
    assert_eq!(all[0], all[1]);
}

#[tokio::test]
async fn what_follows_from_a_result_is_done_by_the_next_if_a_trainer_died_before() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    // Nothing is trained, because all results are there.
    let dataset = DatasetId::of(b"none");
    let study = ask(&store, request(dataset, 3)).await;
    let record = async |trial, rung, accuracy| {
        let study = study.id;
        let result = TrialResult {
            of: TrialRung { study, trial, rung },
            outcome: TrialOutcome::Scored {
                accuracy,
                loss: 0.5,
            },
        };
        store.catalog.record_result(&result).await.unwrap();
    };
    for (trial, accuracy) in [(0, 0.5), (1, 0.75), (2, 0.625)] {
        record(trial, 0, accuracy).await;
    }
    let (trainer, context) = (trainer(&store), store.context("two"));
    // The best one and the first, which has the usual settings, are promoted.
    assert!(trainer.work(&context).await.unwrap());
    let open = store.catalog.open_work("trial").await.unwrap();
    let second = TrialRung {
        study: study.id,
        trial: 1,
        rung: 1,
    };
    assert!(open.iter().any(|lease| lease.work == Work::Trial(second)));
    assert_eq!(open.len(), 4, "two of the first rung and two of the second");
    record(0, 1, 0.75).await;
    record(1, 1, 0.875).await;
    assert!(trainer.work(&context).await.unwrap());
    let ended = recorded(&store, study.id).await;
    assert_eq!((ended.state, ended.best), (StudyState::Done, Some(1)));
    let run = ended.best_run().unwrap();
    let training = store.catalog.open_work("train").await.unwrap();
    assert_eq!(training[0].work, Work::Train(run));
}

#[tokio::test]
async fn a_study_of_which_nothing_can_be_trained_fails_and_can_be_asked_for_again() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let mut wild = request(dataset, 2);
    wild.settings.optimizer = Some(Optimizer::Sgd);
    wild.settings.learning_rate = Some(1e30);
    wild.settings.warmup_epochs = Some(0.0);
    let study = ask(&store, wild.clone()).await;
    work_to_the_end(&store).await;
    let ended = recorded(&store, study.id).await;
    assert_eq!((ended.state, ended.best), (StudyState::Failed, None));
    let error = ended.error.clone().unwrap();
    assert!(error.contains("none of the 2 trials"), "{error}");
    assert!(error.contains("lower learning rate"), "{error}");
    assert_eq!(store.catalog.runs(None, 10).await, Ok(vec![]));
    let page = ObjectKey::study_report_page(study.id);
    let page = store.objects.get(&page).await.unwrap();
    assert!(String::from_utf8_lossy(&page).contains("The study failed"));

    store.catalog.reopen_study(study.id).await.unwrap();
    assert_eq!(ask(&store, wild).await, study);
    assert_eq!(store.catalog.open_work("trial").await.unwrap().len(), 2);
    work_to_the_end(&store).await;
    assert_eq!(recorded(&store, study.id).await, ended);
}
