//! The shortcut baseline: how well the width, the height, the bytes and the format of the files, as
//! they were fetched, tell the classes, without a single pixel.
//!
//! Scraped images of one class often come from one site, as files of one kind. Where the files alone
//! tell the classes, a network may learn how pictures are framed and compressed in place of what
//! they show, and its validation accuracy does not tell.

use maskline_dataset::Original;
use maskline_messages::{Format, ImageId};
use maskline_models::prediction::Confusion;
use serde::Serialize;

use crate::{
    examples::{Example, ExampleSet},
    regression::{Rows, choose},
};

/// A number of a file becomes one of so many ranges with equally many training images each.
const RANGES: usize = 16;

/// The numbers of a file, see [`numbers`].
const NUMBERS: usize = 5;

/// The most training images that the baseline learns from, evenly spread.
const MOST_IMAGES: usize = 20_000;

/// What the files alone tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Shortcut {
    /// The validation images that the baseline was measured on.
    pub(crate) images: u64,
    /// The share of them whose class it predicts, as the mean over the classes, 0 to 1. Classes of
    /// different sizes count alike.
    pub(crate) recall: f64,
    /// The same for guessing.
    pub(crate) guessing: f64,
}

/// The files of images, as they were fetched, with their classes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    originals: Vec<Original>,
    classes: Vec<usize>,
    groups: Vec<ImageId>,
}

impl Files {
    /// Those of a set whose originals are known.
    pub(crate) fn of(set: &ExampleSet) -> Self {
        let mut files = Self::default();
        (0..set.len()).for_each(|index| files.push(set.example(index)));
        files
    }

    /// Adds the file of an image, if it is known.
    pub(crate) fn push(&mut self, example: &Example) {
        if let Some(original) = example.original {
            self.originals.push(original);
            self.classes.push(example.class);
            self.groups.push(example.group);
        }
    }

    /// At most so many of them, evenly spread.
    fn spread(&self, most: usize) -> Vec<usize> {
        let len = self.originals.len();
        let kept = len.min(most);
        (0..kept).map(|index| index * len / kept).collect()
    }
}

/// Learns the classes from the `training` files and measures that on those of `validation`. Returns
/// `None` if too little is known of the files.
pub(crate) fn measure(training: &Files, validation: &Files, classes: usize) -> Option<Shortcut> {
    let indices = training.spread(MOST_IMAGES);
    if indices.is_empty() || validation.originals.is_empty() {
        return None;
    }
    let has_bytes = |files: &Files| files.originals.iter().all(|file| file.bytes.is_some());
    // Files whose bytes are not known would be a kind of their own.
    let has_bytes = has_bytes(training) && has_bytes(validation);
    let numbers = |file: &Original| numbers(file, has_bytes);
    let edges = edges(training, &indices, &numbers);
    let mut rows = Rows::new(NUMBERS * RANGES + Format::ALL.len(), classes);
    let mut groups = vec![];
    for index in indices {
        let file = &training.originals[index];
        let row = row(file, numbers(file), &edges);
        rows.push(&row, training.classes[index]);
        groups.push(*training.groups[index].as_bytes());
    }
    let learned = choose(&rows, &groups, &|| false)?.coefficients;
    let mut held_out = Rows::new(rows.features(), classes);
    for (original, &class) in validation.originals.iter().zip(&validation.classes) {
        held_out.push(&row(original, numbers(original), &edges), class);
    }
    let all: Vec<usize> = (0..held_out.len()).collect();
    let mut confusion = Confusion::new(classes);
    let predictions = learned.predict(&held_out, &all);
    for (prediction, &class) in predictions.iter().zip(&validation.classes) {
        confusion.add(prediction, class);
    }
    let recalls = (0..classes).filter_map(|class| confusion.recall(class));
    let recalls: Vec<f64> = recalls.collect();
    Some(Shortcut {
        images: validation.classes.len() as u64,
        recall: recalls.iter().sum::<f64>() / recalls.len() as f64,
        guessing: 1.0 / classes as f64,
    })
}

/// Width, height, bytes, the ratio of the sides, and bytes for each pixel. Without `has_bytes` the
/// numbers of bytes are 0.
fn numbers(original: &Original, has_bytes: bool) -> [f64; NUMBERS] {
    let (width, height) = (f64::from(original.width), f64::from(original.height));
    let bytes = original.bytes.filter(|_| has_bytes).unwrap_or_default() as f64;
    [
        width,
        height,
        bytes,
        width / height.max(1.0),
        bytes / (width * height).max(1.0),
    ]
}

/// The borders between the ranges of each number.
fn edges(
    files: &Files,
    indices: &[usize],
    numbers: &dyn Fn(&Original) -> [f64; NUMBERS],
) -> [Vec<f64>; NUMBERS] {
    std::array::from_fn(|number| {
        let values = indices
            .iter()
            .map(|&index| numbers(&files.originals[index])[number]);
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        (1..RANGES)
            .map(|range| values[range * values.len() / RANGES])
            .collect()
    })
}

/// The features of a file: 1 for the range of each number and for the format, and 0 for the others.
fn row(original: &Original, numbers: [f64; NUMBERS], edges: &[Vec<f64>; NUMBERS]) -> Vec<f32> {
    let mut features = vec![0.0; NUMBERS * RANGES + Format::ALL.len()];
    for (number, (value, edges)) in numbers.into_iter().zip(edges).enumerate() {
        let range = edges.partition_point(|&edge| edge <= value);
        features[number * RANGES + range] = 1.0;
    }
    let format = Format::ALL.iter().position(|&of| of == original.format);
    if let Some(format) = format {
        features[NUMBERS * RANGES + format] = 1.0;
    }
    features
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    /// Files of two classes. Those of the second have the sides that are given.
    fn files(count: usize, second: u32, seed: u64) -> Files {
        let mut random = StdRng::seed_from_u64(seed);
        let mut files = Files::default();
        for index in 0..count {
            let class = index % 2;
            let side = if class == 0 { 600 } else { second };
            let mut around = |side: u32| side + random.random_range(0..side / 3);
            files.originals.push(Original {
                format: Format::Jpeg,
                width: around(side),
                height: around(side),
                bytes: Some(u64::from(around(40_000))),
            });
            files.classes.push(class);
            files.groups.push(ImageId::of(&index.to_be_bytes()));
        }
        files
    }

    #[test]
    fn files_that_tell_the_class_are_found_out_and_others_are_not() {
        let strong = measure(&files(400, 140, 1), &files(100, 140, 2), 2).unwrap();
        assert!(strong.recall > 0.95, "{strong:?}");
        assert_eq!((strong.images, strong.guessing), (100, 0.5));
        let none = measure(&files(400, 600, 3), &files(200, 600, 4), 2).unwrap();
        assert!((0.35..0.65).contains(&none.recall), "{none:?}");
    }

    #[test]
    fn what_is_not_known_is_not_measured() {
        assert_eq!(measure(&Files::default(), &files(10, 600, 1), 2), None);
        assert_eq!(measure(&files(10, 600, 1), &Files::default(), 2), None);
    }

    #[test]
    fn a_few_files_and_files_that_are_all_the_same_are_no_trouble() {
        let few = measure(&files(3, 140, 1), &files(2, 140, 1), 2).unwrap();
        assert_eq!(few.images, 2);
        let mut same = files(40, 600, 1);
        let first = same.originals[0];
        same.originals.fill(first);
        let measured = measure(&same, &same, 2).unwrap();
        assert!((measured.recall - 0.5).abs() < 1e-9, "{measured:?}");
    }

    #[test]
    fn bytes_that_are_known_of_some_files_only_are_left_out() {
        // Those of one class were fetched by an earlier build.
        let mut training = files(400, 600, 3);
        for (original, class) in training.originals.iter_mut().zip(&training.classes) {
            original.bytes = original.bytes.filter(|_| *class == 0);
        }
        let measured = measure(&training, &files(200, 600, 4), 2).unwrap();
        assert!((0.35..0.65).contains(&measured.recall), "{measured:?}");
    }
}
