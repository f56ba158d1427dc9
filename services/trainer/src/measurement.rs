//! How good a finished network is: on each split, and on the images of each source.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use anyhow::Result;
use maskline_dataset::{Manifest, Split};
use maskline_foundation::text::shortened;
use maskline_messages::{JobId, Label, SourceRole};
use maskline_models::{
    Network,
    calibration::{Calibration, Confidences},
    prediction::{self, Confusion, Prediction, Tally},
    temperature::Temperature,
};
use maskline_storage::{
    ObjectStore, StorageError,
    catalog::Jobs,
    records::{Evaluation, SourceScore, SplitScore},
};
use tokio::runtime::Handle;

use crate::{
    by_faces::{ByFaces, FaceScore},
    evaluation::Evaluator,
    examples::{self, ExampleSet},
    sources::Sources,
};

/// The most sources that a score lists.
const MOST_SOURCES: usize = 500;

/// The most characters of a source's name.
const MOST_CHARACTERS: usize = 300;

/// The predictions for a split, with the network's temperature, added up.
#[derive(Debug)]
pub(crate) struct SplitMeasurement {
    temperature: Temperature,
    tally: Tally,
    pub(crate) confusion: Confusion,
    /// How sure the predictions are, with the temperature and without it.
    tempered: Confidences,
    raw: Confidences,
    by_faces: ByFaces,
    /// The images of each list of jobs.
    by_jobs: HashMap<Vec<JobId>, Counted>,
}

/// How many images there are, and how many of them are classified correctly.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    images: u64,
    right: u64,
}

impl SplitMeasurement {
    /// Nothing yet, of a dataset that has this number of classes.
    pub(crate) fn new(classes: usize, temperature: Temperature) -> Self {
        Self {
            temperature,
            tally: Tally::default(),
            confusion: Confusion::new(classes),
            tempered: Confidences::default(),
            raw: Confidences::default(),
            by_faces: ByFaces::default(),
            by_jobs: HashMap::new(),
        }
    }

    /// Adds what the network says, without its temperature, about each image of `set`, in its order.
    pub(crate) fn add(&mut self, predictions: &[Prediction], set: &ExampleSet) {
        for (index, (prediction, class)) in predictions.iter().zip(set.classes()).enumerate() {
            self.raw.add(prediction, class);
            let tempered = self.temperature.applied(prediction);
            self.tempered.add(&tempered, class);
            self.tally.add(&tempered, class);
            self.confusion.add(&tempered, class);
            self.by_faces.add(&tempered, set.example(index));
            let jobs = set.jobs(index);
            if !self.by_jobs.contains_key(jobs) {
                self.by_jobs.insert(jobs.to_vec(), Counted::default());
            }
            if let Some(counted) = self.by_jobs.get_mut(jobs) {
                counted.images += 1;
                counted.right += u64::from(prediction.class() == class);
            }
        }
    }

    /// Whether all predictions are numbers.
    pub(crate) fn is_finite(&self) -> bool {
        self.tally.mean_loss().is_finite()
    }

    /// How far its probabilities can be believed, without the temperature and with it.
    pub(crate) fn calibrations(&self) -> [Calibration; 2] {
        [&self.raw, &self.tempered].map(Confidences::calibration)
    }

    /// How good it is on the images, by the faces in them. It is empty if nobody looked for faces.
    pub(crate) fn faces(&self) -> Vec<FaceScore> {
        self.by_faces.scores()
    }

    fn jobs(&self) -> impl Iterator<Item = JobId> {
        self.by_jobs.keys().flatten().copied()
    }

    fn score(&self, split: Split, labels: &[Label], sources: &Sources) -> SplitScore {
        let score = self.tally.score();
        let recall = labels.iter().enumerate().filter_map(|(class, label)| {
            let recall = self.confusion.recall(class)?;
            Some((label.clone(), recall as f32))
        });
        let mut by_source = self.by_source(split, sources);
        let more_sources = by_source.len().saturating_sub(MOST_SOURCES) as u64;
        by_source.truncate(MOST_SOURCES);
        SplitScore {
            images: self.tally.images,
            accuracy: score.accuracy,
            interval: single(self.tally.interval()),
            loss: score.loss,
            recall: recall.collect(),
            sources: by_source,
            more_sources,
        }
    }

    /// The score of each source, those with the most images first. On the test split only test
    /// sources are of interest: what another source has there as well says nothing about it.
    fn by_source(&self, split: Split, sources: &Sources) -> Vec<SourceScore> {
        let role = match split {
            Split::Test => SourceRole::Test,
            Split::Train | Split::Validation => SourceRole::Train,
        };
        let mut by_source: BTreeMap<_, Counted> = BTreeMap::new();
        for (jobs, counted) in &self.by_jobs {
            // A source that was enqueued twice has an image once.
            let having: BTreeSet<_> = jobs.iter().map(|&job| sources.of(job, role)).collect();
            for source in having.into_iter().filter(|source| source.role == role) {
                let sum = by_source.entry(source).or_default();
                sum.images += counted.images;
                sum.right += counted.right;
            }
        }
        let scores = by_source.into_iter().map(|(source, counted)| SourceScore {
            source: shortened(&source.name, MOST_CHARACTERS),
            role: source.role,
            images: counted.images,
            accuracy: (counted.right as f64 / counted.images as f64) as f32,
            interval: Some(single(prediction::interval(counted.right, counted.images))),
        });
        let mut scores: Vec<SourceScore> = scores.collect();
        scores.sort_by_key(|score| Reverse(score.images));
        scores
    }
}

/// An interval in single precision, as records have it.
fn single((low, high): (f64, f64)) -> [f32; 2] {
    [low, high].map(|share| share as f32)
}

/// The predictions for the splits that a finished network is measured on.
#[derive(Debug)]
pub(crate) struct Measurement {
    pub(crate) validation: SplitMeasurement,
    /// `None` if the dataset has no test images.
    pub(crate) test: Option<SplitMeasurement>,
}

impl Measurement {
    /// What the measurement comes to. The names of the sources are in the catalog.
    pub(crate) async fn evaluation(
        &self,
        labels: &[Label],
        catalog: &dyn Jobs,
    ) -> Result<Evaluation, StorageError> {
        let test = self.test.as_ref();
        let jobs = self.validation.jobs();
        let jobs: BTreeSet<JobId> = jobs
            .chain(test.into_iter().flat_map(SplitMeasurement::jobs))
            .collect();
        let sources = Sources::read(catalog, jobs).await?;
        Ok(Evaluation {
            validation: self.validation.score(Split::Validation, labels, &sources),
            test: test.map(|test| test.score(Split::Test, labels, &sources)),
        })
    }
}

/// A dataset in the object store.
pub(crate) struct StoredDataset<'a> {
    pub(crate) objects: &'a Arc<dyn ObjectStore>,
    pub(crate) manifest: &'a Manifest,
    /// It runs the I/O.
    pub(crate) runtime: &'a Handle,
}

impl StoredDataset<'_> {
    /// Measures a network with its temperature on a split, of which one shard at a time is in memory. Blocks the
    /// thread. Returns `None` if the evaluator's interrupt is requested meanwhile.
    pub(crate) fn measure(
        &self,
        split: Split,
        network: &Network,
        temperature: Temperature,
        evaluator: &Evaluator<'_>,
    ) -> Result<Option<SplitMeasurement>> {
        let mut measurement = SplitMeasurement::new(self.manifest.classes.len(), temperature);
        for shard in examples::shards(self.manifest, split) {
            let reading = examples::read_shard(self.objects, self.manifest, shard, evaluator.input);
            let set = self.runtime.block_on(reading)?;
            let Some(predictions) = evaluator.predict(network, &set)? else {
                return Ok(None);
            };
            measurement.add(&predictions, &set);
        }
        Ok(Some(measurement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_lists_a_bounded_number_of_sources_those_with_the_most_images_first() {
        let mut measurement = SplitMeasurement::new(2, Temperature::ONE);
        let counted = (1..=MOST_SOURCES as u64 + 7).map(|images| {
            let counted = Counted { images, right: 1 };
            (vec![JobId::draw()], counted)
        });
        measurement.by_jobs = counted.collect();
        let score = measurement.score(Split::Validation, &[], &Sources::default());
        assert_eq!((score.sources.len(), score.more_sources), (MOST_SOURCES, 7));
        let (first, last) = (score.sources.first(), score.sources.last());
        assert_eq!(first.unwrap().images, MOST_SOURCES as u64 + 7);
        assert_eq!(last.unwrap().images, 8);
    }
}
