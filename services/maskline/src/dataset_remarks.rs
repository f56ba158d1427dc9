//! What a person should know of a version before training on it.

use std::collections::BTreeMap;

use maskline_dataset::{Split, class_warnings};
use maskline_messages::{Label, VersionName};
use maskline_storage::records::Dataset;

/// Sentences that say why no network can be trained on the version, if none can, what is wrong with
/// its classes, how many images it leaves out, and how many have a label that is worth a look. There
/// are none if all is well.
pub(crate) fn remarks(version: &VersionName, dataset: &Dataset) -> Vec<String> {
    let none = BTreeMap::new();
    let in_split = |split: Split| dataset.images.get(split.name()).unwrap_or(&none);
    let images = |split: Split| in_split(split).values().sum::<u64>();
    let collection = &version.collection;
    let mut remarks = vec![];
    if Split::ALL.iter().all(|&split| images(split) == 0) {
        remarks.push(format!(
            "{version} has no images, so no network can be trained on it: enqueue other images into \
             {collection}."
        ));
    } else if images(Split::Train) == 0 && images(Split::Validation) == 0 {
        remarks.push(format!(
            "{version} has only test images, so no network can be trained on it: whatever other \
             sources have is in a source with `--role test`, too. Enqueue other images into \
             {collection} without `--role test`."
        ));
    } else if let Some(split) = [Split::Train, Split::Validation]
        .into_iter()
        .find(|&split| images(split) == 0)
    {
        remarks.push(format!(
            "{version} has no images in its {split} split, so no network can be trained on it: \
             enqueue more images into {collection}, or begin another collection with another \
             `--validation`."
        ));
    } else {
        let present: Vec<&Label> = in_split(Split::Train)
            .iter()
            .filter(|&(_, &count)| count > 0)
            .map(|(class, _)| class)
            .collect();
        if let [class] = present[..] {
            remarks.push(format!(
                "All training images of {version} are of the class {class}, so no network can be \
                 trained on it: enqueue images of another class into {collection}."
            ));
        } else {
            remarks.extend(class_warnings(&dataset.classes, &dataset.images));
        }
    }
    if dataset.withheld > 0 {
        remarks.push(format!(
            "Left out of {version}: {} that looked like a test image.",
            counted(dataset.withheld)
        ));
    }
    if dataset.set_aside > 0 {
        remarks.push(format!(
            "Set aside, and not in {version}: {} of unclear class: the sources contradict each other \
             about them, or about images that look the same.",
            counted(dataset.set_aside)
        ));
    }
    match dataset.several_faces {
        0 => {}
        1 => remarks.push(format!(
            "1 image of {version} shows several faces and has one label: `maskline datasets review \
             {version}` lists it."
        )),
        images => remarks.push(format!(
            "{images} images of {version} show several faces and have one label: `maskline datasets \
             review {version}` lists them."
        )),
    }
    remarks
}

fn counted(count: u64) -> String {
    match count {
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    }
}

#[cfg(test)]
mod tests {
    use maskline_messages::{DatasetId, SplitSettings};

    use super::*;

    /// The remarks on a version with so many images with and without a mask in each split.
    fn remarks_on(splits: [[u64; 2]; 3], withheld: u64, set_aside: u64) -> Vec<String> {
        let dataset = Dataset {
            withheld,
            set_aside,
            ..dataset(splits)
        };
        remarks(&version(), &dataset)
    }

    fn version() -> VersionName {
        "masks@3".parse().unwrap()
    }

    fn dataset(splits: [[u64; 2]; 3]) -> Dataset {
        let classes = ["with_mask", "without_mask"].map(|class| class.parse().unwrap());
        let id = DatasetId::of(b"a dataset");
        let by_class = |images: [u64; 2]| classes.clone().into_iter().zip(images).collect();
        let names = Split::ALL.map(|split| split.name().to_owned());
        Dataset {
            id,
            content: id,
            collection: version().collection,
            parent: None,
            sources: vec![],
            classes: classes.to_vec(),
            images: names.into_iter().zip(splits.map(by_class)).collect(),
            near_duplicate_groups: 0,
            set_aside: 0,
            withheld: 0,
            several_faces: 0,
            split: SplitSettings::default(),
            created: 0,
        }
    }

    #[test]
    fn a_version_on_which_no_network_can_be_trained_is_named_with_the_cause() {
        assert_eq!(
            remarks_on([[4, 4], [1, 1], [0, 0]], 0, 0),
            Vec::<String>::new()
        );
        let only_tests = remarks_on([[0, 0], [0, 0], [5, 5]], 0, 0);
        assert!(
            only_tests[0].contains("without `--role test`"),
            "{only_tests:?}"
        );
        let empty = remarks_on([[0, 0], [0, 0], [0, 0]], 0, 9);
        assert!(empty[0].contains("has no images"), "{empty:?}");
        assert!(empty[1].contains("9 images of unclear class"), "{empty:?}");
        let one_class = remarks_on([[4, 0], [1, 0], [0, 0]], 0, 0);
        assert!(
            one_class[0].contains("the class with_mask"),
            "{one_class:?}"
        );
        let unbalanced = remarks_on([[30, 1], [6, 0], [0, 0]], 0, 0);
        assert!(
            unbalanced[0].contains("30 training images are with_mask and 1 are without_mask"),
            "{unbalanced:?}"
        );
        assert!(
            unbalanced[1].contains("No validation image is without_mask"),
            "{unbalanced:?}"
        );
        let unvalidated = remarks_on([[4, 4], [0, 0], [1, 1]], 0, 0);
        assert!(
            unvalidated[0].contains("no images in its validation split"),
            "{unvalidated:?}"
        );
        assert_eq!(unvalidated.len(), 1);
    }

    #[test]
    fn images_that_were_left_out_are_counted() {
        let left_out = remarks_on([[4, 4], [1, 1], [1, 1]], 3, 1);
        assert!(
            left_out[0].contains("Left out of masks@3: 3 images that"),
            "{left_out:?}"
        );
        assert!(
            left_out[1].contains("Set aside, and not in masks@3: 1 image of unclear class"),
            "{left_out:?}"
        );
    }

    #[test]
    fn images_with_several_faces_are_counted_with_the_command_that_lists_them() {
        let of = |several_faces| {
            let dataset = Dataset {
                several_faces,
                ..dataset([[40, 40], [10, 10], [0, 0]])
            };
            remarks(&version(), &dataset)
        };
        assert_eq!(of(0), [""; 0]);
        let command = "`maskline datasets review masks@3` lists";
        assert_eq!(
            of(1),
            [format!(
                "1 image of masks@3 shows several faces and has one label: {command} it."
            )]
        );
        assert_eq!(
            of(57),
            [format!(
                "57 images of masks@3 show several faces and have one label: {command} them."
            )]
        );
    }
}
