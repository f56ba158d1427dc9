//! What a reader must know about the dataset before believing an accuracy.

use maskline_dataset::{Manifest, Split, class_warnings};

use crate::shortcut::Shortcut;

/// With fewer images of a split than this an accuracy says little.
const FEW_IMAGES: u64 = 100;

/// The files alone tell the classes too well if they are right so much more often than guessing.
const STRONG_SHORTCUT: f64 = 0.15;

/// The warnings, in sentences. There are none for a sound dataset.
pub(super) fn of(manifest: &Manifest, shortcut: Option<&Shortcut>) -> Vec<String> {
    let splits = manifest.splits.iter();
    let images = splits.map(|(split, images)| (split.name().to_owned(), images.by_class.clone()));
    let mut warnings = class_warnings(&manifest.classes, &images.collect());
    for split in [Split::Validation, Split::Test] {
        let (images, split_name) = (manifest.images(split), split.name());
        // A dataset need not have test images.
        let is_missing = split == Split::Test && images == 0;
        if images < FEW_IMAGES && !is_missing {
            warnings.push(format!(
                "There are only {images} {split_name} images: a few more or fewer mistakes are \
                 chance."
            ));
        }
    }
    let strong = shortcut.filter(|shortcut| {
        shortcut.recall > shortcut.guessing + STRONG_SHORTCUT && shortcut.images >= FEW_IMAGES
    });
    if let Some(shortcut) = strong {
        warnings.push(format!(
            "Width, height, bytes and format of the files, without a pixel, tell the class of {:.0} % \
             of the validation images, as the mean of the classes. A network may have learned these \
             in place of what is to be seen: believe the accuracy on a test source from elsewhere \
             only, and add images of each class from the same sites.",
            100.0 * shortcut.recall
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use maskline_test_support::embedded::Embedded;

    use super::*;
    use crate::fixtures::Drawing;

    async fn warnings(drawing: Drawing) -> Vec<String> {
        let store = Embedded::open().await;
        let dataset = drawing.freeze(&store.objects).await;
        let manifest = crate::manifest::read(&store.objects, &dataset).await;
        of(&manifest.unwrap(), None)
    }

    #[tokio::test]
    async fn files_that_tell_the_class_are_warned_of() {
        let store = Embedded::open().await;
        let sound = Drawing {
            validation: [60, 40],
            ..Drawing::default()
        };
        let dataset = sound.freeze(&store.objects).await;
        let manifest = crate::manifest::read(&store.objects, &dataset).await;
        let manifest = manifest.unwrap();
        let warnings = |recall| {
            let shortcut = Shortcut {
                images: 100,
                recall,
                guessing: 0.5,
            };
            of(&manifest, Some(&shortcut))
        };
        assert_eq!(warnings(0.6), [""; 0]);
        assert!(warnings(0.89)[0].contains("tell the class of 89 %"));
    }

    #[tokio::test]
    async fn a_sound_dataset_has_no_warning() {
        let sound = Drawing {
            validation: [60, 40],
            ..Drawing::default()
        };
        assert_eq!(warnings(sound).await, [""; 0]);
    }

    #[tokio::test]
    async fn unbalanced_classes_missing_classes_and_few_images_are_named() {
        let bad = Drawing {
            training: [50, 10],
            validation: [8, 8],
            test: [5, 0],
            ..Drawing::default()
        };
        let warnings = warnings(bad).await;
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        assert!(warnings[0].contains("50 training images are blue and 10 are red"));
        assert!(warnings[1].starts_with("No test image is red"));
        assert!(warnings[2].starts_with("There are only 16 validation images"));
        assert!(warnings[3].starts_with("There are only 5 test images"));
    }
}
