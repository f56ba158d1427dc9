//! Logistic regression with L2 regularization, by L-BFGS.
//!
//! What is minimized is the mean cross-entropy plus half the strength times the sum of the squared
//! weights. Biases are not regularized. That is scikit-learn's `LogisticRegression` with
//! `C = 1 / (strength × images)`: of two classes one column of weights, of more a softmax of one
//! column for each (Nocedal and Wright, *Numerical Optimization*, 2006, chapter 7.2).

use std::collections::VecDeque;

use maskline_models::prediction::Prediction;
use rayon::prelude::*;

/// The values that are added up side by side.
const LANES: usize = 16;

/// The rows that one task adds up. Their number does not depend on the threads, so neither does
/// the result.
const ROWS: usize = 128;

/// The steps that L-BFGS remembers.
const MEMORY: usize = 10;

/// The most steps of one fit.
const MOST_STEPS: usize = 300;

/// A fit has ended if no derivative is larger.
const SMALL: f64 = 1e-5;

/// The features of images, in row-major order, with their classes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    values: Vec<f32>,
    features: usize,
    classes: Vec<usize>,
    class_count: usize,
}

/// The mean and the deviation of each feature.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scale {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

/// What a regression has learned: for each column the weights of the features, then a bias for
/// each column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Coefficients {
    values: Vec<f64>,
    features: usize,
    class_count: usize,
}

impl Rows {
    /// No rows yet.
    pub(crate) fn new(features: usize, class_count: usize) -> Self {
        Self {
            features,
            class_count,
            ..Self::default()
        }
    }

    /// Adds an image.
    ///
    /// # Panics
    /// If it has another number of features.
    pub(crate) fn push(&mut self, features: &[f32], class: usize) {
        assert_eq!(features.len(), self.features, "all have the same features");
        self.values.extend_from_slice(features);
        self.classes.push(class);
    }

    pub(crate) fn len(&self) -> usize {
        self.classes.len()
    }

    pub(crate) fn features(&self) -> usize {
        self.features
    }

    pub(crate) fn classes(&self) -> &[usize] {
        &self.classes
    }

    pub(crate) fn class_count(&self) -> usize {
        self.class_count
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.features..][..self.features]
    }

    /// Gives each feature the mean 0 and the deviation 1. A feature that is always the same
    /// becomes 0.
    pub(crate) fn standardize(&mut self) -> Scale {
        let rows = self.len().max(1) as f64;
        let features = self.features.max(1);
        let mut mean = vec![0.0; self.features];
        for row in self.values.chunks_exact(features) {
            for (sum, value) in mean.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
        mean.iter_mut().for_each(|sum| *sum /= rows);
        let mut deviation = vec![0.0; self.features];
        for row in self.values.chunks_exact(features) {
            for ((sum, value), mean) in deviation.iter_mut().zip(row).zip(&mean) {
                *sum += (f64::from(*value) - mean).powi(2);
            }
        }
        for sum in &mut deviation {
            let root = (*sum / rows).sqrt();
            *sum = if root > 1e-12 { root } else { 1.0 };
        }
        let scale = Scale { mean, deviation };
        self.values.par_chunks_mut(features).for_each(|row| {
            for ((value, mean), deviation) in row.iter_mut().zip(&scale.mean).zip(&scale.deviation)
            {
                *value = ((f64::from(*value) - mean) / deviation) as f32;
            }
        });
        scale
    }
}

impl Coefficients {
    /// Nothing is learned: all classes are equally probable.
    pub(crate) fn zero(features: usize, class_count: usize) -> Self {
        Self {
            values: vec![0.0; columns(class_count) * (features + 1)],
            features,
            class_count,
        }
    }

    /// The logits of all classes.
    fn logits(&self, weights: &[f32], row: &[f32]) -> Vec<f32> {
        let columns = columns(self.class_count);
        let biases = &self.values[columns * self.features..];
        let logit = |column: usize| {
            let weights = &weights[column * self.features..][..self.features];
            dot(weights, row) + biases[column] as f32
        };
        match columns {
            1 => vec![0.0, logit(0)],
            _ => (0..columns).map(logit).collect(),
        }
    }

    /// The weights without the biases, in the precision of the features.
    fn weights(&self) -> Vec<f32> {
        let weights = columns(self.class_count) * self.features;
        self.values[..weights].iter().map(|&x| x as f32).collect()
    }

    /// The predictions for some rows.
    pub(crate) fn predict(&self, rows: &Rows, indices: &[usize]) -> Vec<Prediction> {
        let weights = self.weights();
        let predict = |&index: &usize| Prediction::of(&self.logits(&weights, rows.row(index)));
        indices.par_iter().map(predict).collect()
    }

    /// The last layer of a network whose features are not standardized: weights
    /// `[classes, features]` and biases. Of two classes each has half the logit.
    pub(crate) fn for_raw_features(&self, scale: &Scale) -> (Vec<f32>, Vec<f32>) {
        let columns = columns(self.class_count);
        let (mut weights, mut biases) = (vec![], vec![]);
        for column in 0..columns {
            let standardized = &self.values[column * self.features..][..self.features];
            let raw: Vec<f64> = standardized
                .iter()
                .zip(&scale.deviation)
                .map(|(weight, deviation)| weight / deviation)
                .collect();
            let moved: f64 = raw.iter().zip(&scale.mean).map(|(w, mean)| w * mean).sum();
            biases.push(self.values[columns * self.features + column] - moved);
            weights.push(raw);
        }
        if columns == 1 {
            let half = |sign: f64| weights[0].iter().map(move |weight| sign * weight / 2.0);
            weights = vec![half(-1.0).collect(), half(1.0).collect()];
            biases = vec![-biases[0] / 2.0, biases[0] / 2.0];
        }
        let weights = weights.into_iter().flatten().map(|x| x as f32);
        (
            weights.collect(),
            biases.into_iter().map(|x| x as f32).collect(),
        )
    }
}

/// Two classes need one column: the other's logit is 0.
fn columns(class_count: usize) -> usize {
    if class_count == 2 { 1 } else { class_count }
}

/// Fits the rows at `indices`, from `start` on.
pub(crate) fn fit(
    rows: &Rows,
    indices: &[usize],
    strength: f64,
    start: &Coefficients,
) -> Coefficients {
    let mut at = start.clone();
    let (mut value, mut gradient) = objective(rows, indices, strength, &at);
    let mut memory: VecDeque<Step> = VecDeque::with_capacity(MEMORY);
    for _ in 0..MOST_STEPS {
        if gradient.iter().all(|x| x.abs() <= SMALL) {
            break;
        }
        let mut direction = descent(&gradient, &memory);
        let mut slope = inner(&direction, &gradient);
        if slope >= 0.0 {
            // Rounding has spoiled what is remembered.
            memory.clear();
            direction = gradient.iter().map(|x| -x).collect();
            slope = inner(&direction, &gradient);
        }
        let mut length = if memory.is_empty() {
            1.0 / (-slope).sqrt().max(1.0)
        } else {
            1.0
        };
        let step = loop {
            let mut next = at.clone();
            for (x, direction) in next.values.iter_mut().zip(&direction) {
                *x += length * direction;
            }
            let (next_value, next_gradient) = objective(rows, indices, strength, &next);
            if next_value <= value + 1e-4 * length * slope {
                break Some((next, next_value, next_gradient));
            }
            length /= 2.0;
            if length < 1e-8 {
                break None;
            }
        };
        // Without a lower value in reach, the rest is rounding.
        let Some((next, next_value, next_gradient)) = step else {
            break;
        };
        let step = Step::new(&at.values, &next.values, &gradient, &next_gradient);
        if let Some(step) = step {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back(step);
        }
        (at, value, gradient) = (next, next_value, next_gradient);
    }
    at
}

/// A step, and by how much it changed the gradient.
struct Step {
    moved: Vec<f64>,
    turned: Vec<f64>,
    /// 1 / (moved · turned)
    curvature: f64,
}

impl Step {
    /// `None` if the gradient did not change in the step's direction.
    fn new(from: &[f64], to: &[f64], before: &[f64], after: &[f64]) -> Option<Self> {
        let difference = |to: &[f64], from: &[f64]| -> Vec<f64> {
            to.iter().zip(from).map(|(to, from)| to - from).collect()
        };
        let (moved, turned) = (difference(to, from), difference(after, before));
        let along = inner(&moved, &turned);
        (along > 1e-14).then(|| Self {
            moved,
            turned,
            curvature: 1.0 / along,
        })
    }
}

/// The direction in which to go, by the two loops of L-BFGS.
fn descent(gradient: &[f64], memory: &VecDeque<Step>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|x| -x).collect();
    let mut shares = Vec::with_capacity(memory.len());
    for step in memory.iter().rev() {
        let share = step.curvature * inner(&step.moved, &direction);
        add(&mut direction, -share, &step.turned);
        shares.push(share);
    }
    if let Some(last) = memory.back() {
        let scale = 1.0 / (last.curvature * inner(&last.turned, &last.turned));
        direction.iter_mut().for_each(|x| *x *= scale);
    }
    for (step, share) in memory.iter().zip(shares.into_iter().rev()) {
        let other = step.curvature * inner(&step.turned, &direction);
        add(&mut direction, share - other, &step.moved);
    }
    direction
}

/// The value that is minimized, and its gradient.
fn objective(rows: &Rows, indices: &[usize], strength: f64, at: &Coefficients) -> (f64, Vec<f64>) {
    let (features, columns) = (rows.features, columns(rows.class_count));
    let weights = at.weights();
    let parts: Vec<(f64, Vec<f32>, Vec<f64>)> = indices
        .par_chunks(ROWS)
        .map(|indices| {
            let mut loss = 0.0;
            let mut of_weights = vec![0.0; columns * features];
            let mut of_biases = vec![0.0; columns];
            for &index in indices {
                let (row, class) = (rows.row(index), rows.classes[index]);
                let prediction = Prediction::of(&at.logits(&weights, row));
                loss += prediction.loss(class);
                for column in 0..columns {
                    // The only column of two classes is that of the second.
                    let of = if columns == 1 { 1 } else { column };
                    let error = prediction.probability(of) - f64::from(u8::from(of == class));
                    of_biases[column] += error;
                    let gradient = &mut of_weights[column * features..][..features];
                    for (sum, value) in gradient.iter_mut().zip(row) {
                        *sum += error as f32 * value;
                    }
                }
            }
            (loss, of_weights, of_biases)
        })
        .collect();
    let mut value = 0.0;
    let mut gradient = vec![0.0; at.values.len()];
    let (weights, biases) = gradient.split_at_mut(columns * features);
    for (loss, of_weights, of_biases) in &parts {
        value += loss;
        for (sum, part) in weights.iter_mut().zip(of_weights) {
            *sum += f64::from(*part);
        }
        add(biases, 1.0, of_biases);
    }
    let count = indices.len().max(1) as f64;
    gradient.iter_mut().for_each(|sum| *sum /= count);
    let learned = &at.values[..columns * features];
    add(&mut gradient[..columns * features], strength, learned);
    (
        value / count + strength / 2.0 * inner(learned, learned),
        gradient,
    )
}

fn add(to: &mut [f64], share: f64, values: &[f64]) {
    for (sum, value) in to.iter_mut().zip(values) {
        *sum += share * value;
    }
}

fn inner(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    let (ones, rest) = one.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (one, other) in ones.iter().zip(others) {
        for lane in 0..LANES {
            sums[lane] += one[lane] * other[lane];
        }
    }
    let rest = rest.iter().zip(other_rest).map(|(one, other)| one * other);
    sums.iter().sum::<f32>() + rest.sum::<f32>()
}

#[cfg(test)]
mod tests;
