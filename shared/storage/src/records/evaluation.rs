//! How good a finished network is: on each split, and on the images of each source.

use std::collections::BTreeMap;

use maskline_messages::{Label, SourceRole};
use serde::{Deserialize, Serialize};

/// How good a finished network is on a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// On images of the same sources as those that it has learned from. The
    /// temperature was fitted to them, and the best trial of a study is chosen by them.
    pub validation: SplitScore,
    /// On the images of test sources, which decided nothing. `None` if the dataset has none.
    pub test: Option<SplitScore>,
}

/// How good a network is on the images of a split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitScore {
    pub images: u64,
    /// The share of the images whose class is predicted, 0 to 1.
    pub accuracy: f32,
    /// The 95 % confidence interval of the accuracy.
    pub interval: [f32; 2],
    /// The mean cross-entropy, in nats.
    pub loss: f32,
    /// The share of the images of each class that are predicted to be of it, 0 to 1. A class
    /// without images has none.
    pub recall: BTreeMap<Label, f32>,
    /// The sources that have images in the split, those with the most images first. An image
    /// that several sources have counts for each of them. It is empty for a dataset that was
    /// frozen by an earlier build.
    pub sources: Vec<SourceScore>,
    /// The number of sources that are left out of `sources`, because there are too many.
    pub more_sources: u64,
}

/// How good a network is on those images of a split that a source has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceScore {
    /// The source as `maskline status` shows it.
    pub source: String,
    pub role: SourceRole,
    pub images: u64,
    /// The share of the images whose class is predicted, 0 to 1.
    pub accuracy: f32,
    /// The 95 % confidence interval of the accuracy. The record of an earlier build has none.
    #[serde(default)]
    pub interval: Option<[f32; 2]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_of_a_source_in_a_record_of_an_earlier_build_is_read() {
        let json = r#"{"source": "page a", "role": "train", "images": 7, "accuracy": 1.0}"#;
        let score: SourceScore = serde_json::from_str(json).unwrap();
        assert_eq!((score.images, score.interval), (7, None));
    }
}
