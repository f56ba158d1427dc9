//! What is wrong with how many images of each class a dataset has.

use std::collections::BTreeMap;

use maskline_messages::Label;

use crate::split::Split;

/// Classes are unbalanced if the largest has more than so many times the images of the smallest.
const UNBALANCED: u64 = 4;

/// Warnings in sentences: of classes that are unbalanced or missing. `images` are the numbers of
/// images by the name of the split and by class. There are none for a sound dataset.
pub fn class_warnings(
    classes: &[Label],
    images: &BTreeMap<String, BTreeMap<Label, u64>>,
) -> Vec<String> {
    let count = |split: Split, label| {
        let count = images.get(split.name()).and_then(|split| split.get(label));
        count.copied().unwrap_or_default()
    };
    let mut warnings = vec![];
    let counts = classes.iter();
    let counts = counts.map(|label| (count(Split::Train, label), label));
    if let (Some((least, rare)), Some((most, common))) = (counts.clone().min(), counts.max())
        && most > UNBALANCED * least
    {
        warnings.push(format!(
            "The classes are unbalanced: {most} training images are {common} and {least} are \
             {rare}. The accuracy is mostly that on {common}; look at the recall of each class, \
             and add images of {rare}."
        ));
    }
    for split in [Split::Validation, Split::Test] {
        let lacking: Vec<&Label> = classes
            .iter()
            .filter(|label| count(split, label) == 0)
            .collect();
        // A split without any image is none.
        if lacking.len() == classes.len() {
            continue;
        }
        warnings.extend(lacking.into_iter().map(|label| {
            format!(
                "No {split} image is {label}, so that the accuracy says nothing about that class."
            )
        }));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The warnings about so many training, validation and test images of the classes a and b.
    fn warnings(images: [[u64; 2]; 3]) -> Vec<String> {
        let classes = ["a", "b"].map(|class| class.parse().unwrap());
        let names = Split::ALL.map(|split| split.name().to_owned());
        let images = images.map(|counts| classes.clone().into_iter().zip(counts).collect());
        class_warnings(&classes, &names.into_iter().zip(images).collect())
    }

    #[test]
    fn unbalanced_and_missing_classes_are_named() {
        assert_eq!(warnings([[8, 2], [3, 1], [0, 0]]), [""; 0]);
        let unbalanced = warnings([[30, 1], [6, 1], [0, 0]]);
        assert!(unbalanced[0].contains("30 training images are a and 1 are b"));
        let missing = warnings([[8, 8], [4, 0], [0, 4]]);
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(missing[0].starts_with("No validation image is b"));
        assert!(missing[1].starts_with("No test image is a"));
    }
}
