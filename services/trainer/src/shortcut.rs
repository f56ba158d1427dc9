//! The shortcut baseline: how well the width, the height, the bytes and the format of the files, as
//! they were fetched, tell the classes, without a single pixel.
//!
//! Scraped images of one class often come from one site, as files of one kind. Where the files alone
//! tell the classes, a network may learn how pictures are framed and compressed in place of what
//! they show, and its validation accuracy does not tell.

use maskline_dataset::Original;
use maskline_messages::{Format, ImageId};
use maskline_models::prediction::Tally;
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
    /// The share of them whose class it predicts, 0 to 1.
    pub(crate) accuracy: f64,
    /// The share of them that is right if the most frequent class is always predicted.
    pub(crate) most_frequent: f64,
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
    let edges = edges(training, &indices);
    let mut rows = Rows::new(NUMBERS * RANGES + Format::ALL.len(), classes);
    let mut groups = vec![];
    for index in indices {
        let row = row(&training.originals[index], &edges);
        rows.push(&row, training.classes[index]);
        groups.push(*training.groups[index].as_bytes());
    }
    let learned = choose(&rows, &groups, &|| false)?.coefficients;
    let mut held_out = Rows::new(rows.features(), classes);
    for (original, &class) in validation.originals.iter().zip(&validation.classes) {
        held_out.push(&row(original, &edges), class);
    }
    let all: Vec<usize> = (0..held_out.len()).collect();
    let mut tally = Tally::default();
    for (prediction, &class) in learned
        .predict(&held_out, &all)
        .iter()
        .zip(&validation.classes)
    {
        tally.add(prediction, class);
    }
    let of_class = |class| validation.classes.iter().filter(|&&of| of == class).count();
    let most = (0..classes).map(of_class).max().unwrap_or_default();
    Some(Shortcut {
        images: tally.images,
        accuracy: tally.accuracy(),
        most_frequent: most as f64 / tally.images as f64,
    })
}

/// Width, height, bytes, the ratio of the sides, and bytes for each pixel. Bytes that are not known
/// are 0.
fn numbers(original: &Original) -> [f64; NUMBERS] {
    let (width, height) = (f64::from(original.width), f64::from(original.height));
    let bytes = original.bytes.unwrap_or_default() as f64;
    [
        width,
        height,
        bytes,
        width / height.max(1.0),
        bytes / (width * height).max(1.0),
    ]
}

/// The borders between the ranges of each number.
fn edges(files: &Files, indices: &[usize]) -> [Vec<f64>; NUMBERS] {
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
fn row(original: &Original, edges: &[Vec<f64>; NUMBERS]) -> Vec<f32> {
    let mut features = vec![0.0; NUMBERS * RANGES + Format::ALL.len()];
    for (number, (value, edges)) in numbers(original).into_iter().zip(edges).enumerate() {
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
        assert!(strong.accuracy > 0.95, "{strong:?}");
        assert_eq!((strong.images, strong.most_frequent), (100, 0.5));
        let none = measure(&files(400, 600, 3), &files(200, 600, 4), 2).unwrap();
        assert!((0.35..0.65).contains(&none.accuracy), "{none:?}");
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
        assert!((measured.accuracy - 0.5).abs() < 1e-9, "{measured:?}");
    }
}
