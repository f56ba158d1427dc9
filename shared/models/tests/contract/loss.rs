//! The training loss against its definition.

use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};
use maskline_models::prediction::{Prediction, training_loss};

use crate::uniform;

const IMAGES: usize = 7;

/// The definition of Szegedy et al.: the cross-entropy with targets of which a share is
/// spread evenly over all classes.
fn defined(logits: Tensor<2>, classes: &[usize], smoothing: f32) -> Tensor<1> {
    let [images, width] = logits.dims();
    let mut targets = vec![smoothing / width as f32; images * width];
    for (row, &class) in targets.chunks_exact_mut(width).zip(classes) {
        row[class] += 1.0 - smoothing;
    }
    let targets = TensorData::new(targets, [images, width]);
    let targets = Tensor::from_data(targets, &logits.device());
    -(log_softmax(logits, 1) * targets).sum() / images as f64
}

/// A loss, and its gradient by the logits.
fn outcome(
    loss: fn(Tensor<2>, &[usize], f32) -> Tensor<1>,
    logits: &[f32],
    classes: &[usize],
    smoothing: f32,
) -> Vec<f32> {
    let shape = [IMAGES, logits.len() / IMAGES];
    let data = TensorData::new(logits.to_vec(), shape);
    let logits = Tensor::<2>::from_data(data, &Device::flex().autodiff()).require_grad();
    let loss = loss(logits.clone(), classes, smoothing);
    let gradients = loss.backward();
    let gradient = logits.grad(&gradients).expect("the loss depends on them");
    let mut outcome: Vec<f32> = loss.into_data().iter::<f32>().collect();
    outcome.extend(gradient.into_data().iter::<f32>());
    outcome
}

#[test]
fn the_training_loss_and_its_gradient_are_those_of_the_paper() {
    for width in [2, 3, 10] {
        for scale in [0.1, 3.0, 30.0] {
            let logits = uniform("logits", IMAGES * width).into_iter();
            let logits: Vec<f32> = logits.map(|value| value * scale).collect();
            let classes: Vec<usize> = (0..IMAGES).map(|image| image * 5 % width).collect();
            for smoothing in [0.0, 0.1, 0.5] {
                let found = outcome(training_loss, &logits, &classes, smoothing);
                let expected = outcome(defined, &logits, &classes, smoothing);
                assert_eq!(found.len(), 1 + IMAGES * width);
                // A loss of 30 nats is rounded in steps of 2e-6: the share counts.
                for (found, expected) in found.iter().zip(expected) {
                    let off = (found - expected).abs() / expected.abs().max(1.0);
                    assert!(
                        off < 1e-6,
                        "{found} {expected}, {width} {scale} {smoothing}"
                    );
                }
            }
        }
    }
}

#[test]
fn without_smoothing_it_is_the_mean_loss_of_the_predictions() {
    let logits = uniform("logits", IMAGES * 3);
    let classes = [0, 1, 2, 0, 1, 2, 0];
    let found = outcome(training_loss, &logits, &classes, 0.0)[0];
    let losses = logits.chunks(3).zip(classes);
    let losses = losses.map(|(logits, class)| Prediction::of(logits).loss(class));
    let expected = losses.sum::<f64>() / IMAGES as f64;
    assert!((f64::from(found) - expected).abs() < 1e-6, "{found}");
}
