use maskline_messages::Optimizer as Kind;
use maskline_models::prediction::Score;
use maskline_test_support::embedded::Embedded;

use super::*;
use crate::fixtures::{self, Drawing, alone, compute};

fn config(examples: &Examples, settings: TrainingSettings) -> LearnerConfig {
    let compute = compute();
    LearnerConfig {
        network: NetworkName::MobilenetV3Small,
        settings,
        classes: examples.manifest.classes.clone(),
        device: compute.device,
        device_name: compute.name,
        weights: None,
    }
}

fn settings(epochs: u32, optimizer: Kind) -> TrainingSettings {
    TrainingSettings {
        epochs,
        batch: 8,
        pixels: 32,
        optimizer,
        ..TrainingSettings::default()
    }
}

async fn examples() -> Examples {
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    fixtures::examples(&store.objects, &dataset, 32, 1 << 30).await
}

fn to_the_end(learner: &mut Learner, examples: &Examples) {
    while !learner.is_done() {
        let advance = learner.advance(examples, &Interrupt::default()).unwrap();
        assert_eq!(advance, Advance::EpochDone);
    }
}

/// The part of the state that must not depend on when and how often a run was interrupted.
fn result(learner: &Learner) -> (Vec<(Score, Score, f64)>, Option<Bytes>) {
    let epochs = learner.progress().epochs.iter();
    let scores = epochs.map(|epoch| (epoch.training, epoch.validation, epoch.learning_rate));
    (scores.collect(), learner.best_network().cloned())
}

#[tokio::test]
async fn a_run_that_is_interrupted_anywhere_ends_as_one_that_is_not() {
    let _alone = alone().await;
    let examples = examples().await;
    for optimizer in [Kind::Adamw, Kind::Sgd] {
        let config = config(&examples, settings(2, optimizer));
        let mut undisturbed = Learner::new(config.clone()).unwrap();
        to_the_end(&mut undisturbed, &examples);

        let interrupt = Interrupt::default();
        interrupt.stopping.cancel();
        let mut learner = Learner::new(config.clone()).unwrap();
        // An epoch has six steps. The run is interrupted within the first epoch, between
        // its last step and its evaluation, and within the second epoch.
        for steps in [2, 4, 0, 1] {
            for _ in 0..steps {
                let advance = learner.advance(&examples, &interrupt).unwrap();
                assert_eq!(advance, Advance::Interrupted);
            }
            learner = Learner::resume(config.clone(), learner.snapshot().unwrap()).unwrap();
            if learner.progress().step == 6 {
                learner.advance(&examples, &Interrupt::default()).unwrap();
            }
        }
        assert_eq!(
            (learner.progress().epochs.len(), learner.progress().step),
            (1, 1)
        );
        to_the_end(&mut learner, &examples);
        assert_eq!(result(&learner), result(&undisturbed));
    }
}

#[tokio::test]
async fn two_colours_are_told_apart_after_a_few_epochs() {
    let _alone = alone().await;
    let examples = examples().await;
    let mut learner = Learner::new(config(&examples, settings(8, Kind::Adamw))).unwrap();
    to_the_end(&mut learner, &examples);
    let best = learner.progress().best().unwrap();
    assert!(best.validation.accuracy >= 0.9, "{:?}", learner.progress());
    let first = &learner.progress().epochs[0];
    assert!(
        best.training.loss < first.training.loss,
        "{:?}",
        learner.progress()
    );
}

#[tokio::test]
async fn a_loss_that_is_not_a_number_is_a_permanent_error() {
    let _alone = alone().await;
    let examples = examples().await;
    let wild = TrainingSettings {
        learning_rate: 1e30,
        warmup_epochs: 0.0,
        ..settings(3, Kind::Sgd)
    };
    let mut learner = Learner::new(config(&examples, wild)).unwrap();
    let error = loop {
        assert!(!learner.is_done(), "it did not diverge");
        if let Err(error) = learner.advance(&examples, &Interrupt::default()) {
            break error;
        }
    };
    let permanent = error.downcast_ref::<PermanentError>();
    assert!(
        matches!(permanent, Some(PermanentError::Diverged { .. })),
        "{error:#}"
    );
}
