mod gpu;
mod parts;

use std::collections::BTreeMap;

use maskline_messages::{Optimizer as Kind, View};
use maskline_models::prediction::Score;
use maskline_test_support::embedded::Embedded;
use safetensors::SafeTensors;

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
    while !learner.has_done(learner.config.settings.epochs) {
        let advance = learner.advance(examples, &Interrupt::default()).unwrap();
        assert_eq!(advance, Advance::EpochDone);
    }
}

/// The part of the state that must not depend on when and how often a run was interrupted.
fn result(learner: &Learner, examples: &Examples) -> (Vec<(Score, Score, f64)>, Bytes) {
    let epochs = learner.progress().epochs.iter();
    let scores = epochs.map(|epoch| (epoch.training, epoch.validation, epoch.learning_rate));
    (scores.collect(), learner.published(examples).unwrap())
}

#[tokio::test]
async fn a_run_that_is_interrupted_anywhere_ends_as_one_that_is_not() {
    let _alone = alone().await;
    let examples = examples().await;
    let averaged_and_mixed = TrainingSettings {
        ema: 0.9,
        mixup: 0.3,
        cutmix: 0.3,
        ..settings(2, Kind::Adamw)
    };
    for settings in [
        settings(2, Kind::Adamw),
        settings(2, Kind::Sgd),
        averaged_and_mixed,
    ] {
        let config = config(&examples, settings);
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
        let expected = result(&undisturbed, &examples);
        assert_eq!(result(&learner, &examples), expected);
        // A trainer may die after the last checkpoint, before the model is published.
        let complete = Learner::resume(config, learner.snapshot().unwrap()).unwrap();
        assert_eq!(result(&complete, &examples), expected);
    }
}

#[tokio::test]
async fn two_colours_are_told_apart_after_a_few_epochs() {
    let _alone = alone().await;
    let examples = examples().await;
    let mut learner = Learner::new(config(&examples, settings(12, Kind::Adamw))).unwrap();
    to_the_end(&mut learner, &examples);
    let (first, last) = (
        &learner.progress().epochs[0],
        &learner.progress().epochs[11],
    );
    assert!(last.validation.accuracy >= 0.9, "{:?}", learner.progress());
    assert!(
        last.training.loss < first.training.loss,
        "{:?}",
        learner.progress()
    );
}

#[tokio::test]
async fn what_is_published_is_what_was_evaluated_last() {
    let _alone = alone().await;
    let examples = examples().await;
    let averaged = TrainingSettings {
        ema: 0.9,
        ..settings(2, Kind::Adamw)
    };
    let mut learner = Learner::new(config(&examples, averaged.clone())).unwrap();
    to_the_end(&mut learner, &examples);
    let published = learner.published(&examples).unwrap();
    let (network, card) = weights::from_safetensors(&published, &compute().device).unwrap();
    let evaluator = Evaluator {
        threads: &examples.threads,
        input: (&card).into(),
        batch: averaged.batch as usize,
        device: &compute().device,
        interrupt: &Interrupt::default(),
    };
    let predictions = evaluator.predict(&network, &examples.validation).unwrap();
    let score = evaluation::tally(&predictions.unwrap(), &examples.validation).score();
    assert_eq!(learner.progress().validation_after(2), Some(score));
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
        assert!(!learner.has_done(3), "it did not diverge");
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

/// Random weights of MobileNetV3-small for three other classes.
fn weights_of_v3_small() -> Bytes {
    let name = NetworkName::MobilenetV3Small;
    let network = Network::new(name, 3, 5, &compute().device);
    let classes = ["a", "b", "c"].map(|class| class.parse().unwrap());
    let card = Card::new(name, classes.to_vec(), 32, View::Face);
    weights::to_safetensors(&network, &card).unwrap().into()
}

/// The tensors of a file by their names.
fn tensors(file: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let file = SafeTensors::deserialize(file).unwrap();
    let tensors = file.tensors().into_iter();
    tensors
        .map(|(name, tensor)| (name, tensor.data().to_vec()))
        .collect()
}

#[tokio::test]
async fn a_network_begins_from_weights_and_its_frozen_blocks_stay_as_they_were() {
    let _alone = alone().await;
    let examples = examples().await;
    let start = weights_of_v3_small();
    let fine_tuned = TrainingSettings {
        frozen_blocks: 2,
        backbone_rate: 0.25,
        ..settings(1, Kind::Adamw)
    };
    let config = LearnerConfig {
        weights: Some(start.clone()),
        ..config(&examples, fine_tuned)
    };
    let mut learner = Learner::new(config).unwrap();
    to_the_end(&mut learner, &examples);
    let trained = tensors(&learner.published(&examples).unwrap());
    let (mut frozen, mut moved) = (0, 0);
    for (name, before) in tensors(&start) {
        let layer: usize = match name.split('.').collect::<Vec<_>>()[..] {
            ["features", layer, ..] => layer.parse().unwrap(),
            _ => usize::MAX,
        };
        // The blocks are numbered from 1 on, after the stem. Their running statistics stay, too.
        match layer {
            0..=2 => {
                assert_eq!(trained[&name], before, "{name} is frozen");
                frozen += 1;
            }
            _ => moved += usize::from(trained[&name] != before),
        }
    }
    assert!(frozen > 20 && moved > 100, "{frozen} and {moved}");
}

#[tokio::test]
async fn the_layers_before_the_classifier_have_a_learning_rate_of_their_own() {
    let _alone = alone().await;
    let examples = examples().await;
    let still = TrainingSettings {
        backbone_rate: 0.0,
        ..settings(1, Kind::Adamw)
    };
    let config = config(&examples, still);
    let before = Network::new(config.network, 2, config.settings.seed, &config.device);
    let before = tensors(&weights::to_safetensors(&before, &config.card()).unwrap());
    let mut learner = Learner::new(config).unwrap();
    to_the_end(&mut learner, &examples);
    let after = tensors(&learner.published(&examples).unwrap());
    assert_eq!(
        after["features.5.block.0.0.weight"],
        before["features.5.block.0.0.weight"]
    );
    assert_ne!(after["classifier.3.weight"], before["classifier.3.weight"]);
}

#[tokio::test]
async fn weights_of_another_network_are_a_permanent_error() {
    let _alone = alone().await;
    let examples = examples().await;
    let config = LearnerConfig {
        network: NetworkName::MobilenetV2,
        weights: Some(weights_of_v3_small()),
        ..config(&examples, settings(1, Kind::Adamw))
    };
    let Err(error) = Learner::new(config) else {
        panic!("the weights are those of another network");
    };
    let permanent = error.downcast_ref::<PermanentError>();
    assert!(
        matches!(permanent, Some(PermanentError::Weights(_))),
        "{error:#}"
    );
    for advice in [
        "They are those of mobilenet_v3_small",
        "`maskline train --from`",
    ] {
        assert!(error.to_string().contains(advice), "{error:#}");
    }
}
