//! How good a network is on damaged pictures.

use anyhow::Result;
use maskline_models::{Network, prediction::Tally};
use maskline_vision::corruption::Corruption;
use serde::Serialize;

use crate::{batches::Preparation, evaluation::Evaluator, examples::ExampleSet};

/// The most images that are damaged. Each is computed once for each kind of damage.
const MOST_IMAGES: usize = 1000;

/// How good a network is on the images with one kind of damage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Robustness {
    /// `None` for the same images without damage.
    pub(crate) corruption: Option<&'static str>,
    /// What the damage does, for people.
    pub(crate) description: String,
    pub(crate) images: u64,
    /// The share of the images whose class is predicted, 0 to 1.
    pub(crate) accuracy: f32,
    /// The 95 % confidence interval of the accuracy.
    pub(crate) interval: [f64; 2],
}

/// Measures a network on `set`, without damage and with each kind of it. Of a large set some
/// images are taken, evenly spread. Returns `None` if the evaluator's interrupt is requested
/// meanwhile.
pub(crate) fn measure(
    network: &Network,
    evaluator: &Evaluator<'_>,
    set: &ExampleSet,
) -> Result<Option<Vec<Robustness>>> {
    let indices = spread(set.len(), MOST_IMAGES);
    let damaged = Corruption::ALL.map(Preparation::Corrupted);
    let mut measured = vec![];
    for preparation in [Preparation::Plain].into_iter().chain(damaged) {
        let Some(predictions) = evaluator.predict_some(network, set, &indices, preparation)? else {
            return Ok(None);
        };
        let mut tally = Tally::default();
        for (prediction, &index) in predictions.iter().zip(&indices) {
            tally.add(prediction, set.example(index).class);
        }
        let corruption = match preparation {
            Preparation::Corrupted(corruption) => Some(corruption),
            _ => None,
        };
        measured.push(Robustness {
            corruption: corruption.map(Corruption::as_str),
            description: corruption
                .map_or_else(|| "as they are".to_owned(), Corruption::description),
            images: tally.images,
            accuracy: tally.score().accuracy,
            interval: tally.interval().into(),
        });
    }
    Ok(Some(measured))
}

/// At most `most` indices below `len`, evenly spread.
fn spread(len: usize, most: usize) -> Vec<usize> {
    let count = len.min(most);
    (0..count).map(|at| at * len / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_that_are_damaged_are_evenly_spread() {
        assert_eq!(spread(4, 10), [0, 1, 2, 3]);
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
        assert!(spread(0, 4).is_empty());
    }
}
