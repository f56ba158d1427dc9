//! Batches that are computed in parts.

use anyhow::Error;
use maskline_models::ModelError;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    batches::Batch,
    learner::faults::{Fault, faulty},
};

/// The number of images in half a batch.
const HALF: usize = 8;

fn halves() -> Parts {
    let error = Error::from(ModelError::DeviceMemory("out of device memory".into()));
    Parts::default().doubled_for(error, 8).unwrap()
}

/// The weights and the state of the optimizer after one step with a batch whose second half is its
/// first half again. Batch norm then has the same statistics for each half as for the batch.
fn after_a_step(config: &LearnerConfig, parts: Parts) -> Vec<f32> {
    let mut learner = Learner::new(config.clone()).unwrap().with_parts(parts);
    // Dropping would draw other values for the second half.
    learner.network = learner.network.without_dropping();
    let mut random = StdRng::seed_from_u64(1);
    let values = HALF * input::len(32);
    let half: Vec<u8> = (0..values).map(|_| random.random()).collect();
    let batch = Batch {
        planes: [half.clone(), half].concat(),
        classes: (0..2 * HALF).map(|image| image % 2).collect(),
        mixed: None,
    };
    let output = learner.step(batch, 0.1);
    assert_eq!(output.read().unwrap().len(), 2 * HALF);
    let state = learner.optimizer.save().unwrap();
    let tensors = tensors(&state).into_values();
    let floats = |bytes: Vec<u8>| -> Vec<f32> {
        let (floats, _) = bytes.as_chunks();
        floats
            .iter()
            .map(|&float| f32::from_le_bytes(float))
            .collect()
    };
    tensors.flat_map(floats).collect()
}

#[tokio::test]
async fn the_gradients_of_parts_add_up_to_those_of_the_batch() {
    let _alone = alone().await;
    let examples = examples().await;
    // The optimizer's state is the gradient after the first step.
    let config = config(
        &examples,
        TrainingSettings {
            weight_decay: 0.0,
            ..settings(1, Kind::Sgd)
        },
    );
    let (whole, halves) = (
        after_a_step(&config, Parts::default()),
        after_a_step(&config, halves()),
    );
    let length = |values: &[f32]| {
        values
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let off: Vec<f32> = whole.iter().zip(&halves).map(|(a, b)| a - b).collect();
    assert_eq!(whole.len(), halves.len());
    let off = length(&off) / length(&whole);
    assert!(off < 0.01, "off by {off}");
}

#[tokio::test]
async fn a_run_in_parts_goes_on_in_parts_and_is_the_same_again() {
    let _alone = alone().await;
    let examples = examples().await;
    let config = config(&examples, settings(1, Kind::Adamw));
    let mut undisturbed = Learner::new(config.clone()).unwrap().with_parts(halves());
    assert_eq!(undisturbed.images_at_a_time(), 4);
    to_the_end(&mut undisturbed, &examples);
    assert_eq!(undisturbed.progress().epochs[0].parts, halves());

    let interrupt = Interrupt::default();
    interrupt.stopping.cancel();
    let mut learner = Learner::new(config.clone()).unwrap().with_parts(halves());
    learner.advance(&examples, &interrupt).unwrap();
    let mut resumed = Learner::resume(config, learner.snapshot().unwrap()).unwrap();
    to_the_end(&mut resumed, &examples);
    assert_eq!(result(&resumed, &examples), result(&undisturbed, &examples));
}

#[tokio::test]
async fn a_network_is_published_with_fewer_images_at_a_time_if_there_is_no_memory_for_more() {
    let _alone = alone().await;
    let examples = examples().await;
    let fault = Fault::Memory {
        from_epoch: 2,
        images: 4,
    };
    let device = faulty("a device that lacks memory after the only epoch", fault);
    let config = LearnerConfig {
        device: device.device,
        device_name: device.name,
        ..config(&examples, settings(1, Kind::Adamw))
    };
    let mut learner = Learner::new(config).unwrap();
    to_the_end(&mut learner, &examples);
    let error = learner.calibrated(&examples, 8).unwrap_err();
    assert!(
        matches!(error.downcast_ref(), Some(ModelError::DeviceMemory(_))),
        "{error:#}"
    );
    let halves = learner.calibrated(&examples, 4).unwrap();
    let expected = weights::to_safetensors(&halves, &learner.config.card()).unwrap();
    assert!(learner.published(&examples).unwrap() == expected);
}
