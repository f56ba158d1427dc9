//! Reads the manifest of a run's dataset, and checks that a network can be trained on it.

use std::sync::Arc;

use anyhow::Result;
use maskline_dataset::{Manifest, Split};
use maskline_messages::{DatasetId, ObjectKey};
use maskline_storage::ObjectStore;

use crate::permanent_error::PermanentError;

/// Reads the manifest of a dataset to train on.
///
/// # Errors
/// [`PermanentError`] if there is no such dataset, if its manifest is damaged, or if no network
/// can be trained on it.
pub(crate) async fn read_trainable(
    objects: &Arc<dyn ObjectStore>,
    dataset: &DatasetId,
) -> Result<Manifest> {
    let manifest = read(objects, dataset).await?;
    check_trainable(&manifest)?;
    Ok(manifest)
}

/// Reads the manifest of a dataset.
///
/// # Errors
/// [`PermanentError`] if there is no such dataset, or if its manifest is damaged.
pub(crate) async fn read(objects: &Arc<dyn ObjectStore>, dataset: &DatasetId) -> Result<Manifest> {
    let key = ObjectKey::manifest(dataset);
    let json = match objects.get(&key).await {
        Err(missing) if missing.is_not_found() => {
            let location = objects.locate(&key);
            let dataset = *dataset;
            return Err(PermanentError::NoDataset { dataset, location }.into());
        }
        json => json?,
    };
    let manifest = Manifest::from_json(&json).map_err(|error| PermanentError::DamagedDataset {
        dataset: *dataset,
        problem: error.to_string(),
    })?;
    Ok(manifest)
}

/// Refuses a dataset with only one class to learn, or without images to learn from or to
/// measure it on. A test split is not needed.
fn check_trainable(manifest: &Manifest) -> Result<(), PermanentError> {
    let is_empty = |split| manifest.images(split) == 0;
    if is_empty(Split::Train) && is_empty(Split::Validation) && !is_empty(Split::Test) {
        return Err(PermanentError::OnlyTestImages);
    }
    for split in [Split::Train, Split::Validation] {
        if is_empty(split) {
            return Err(PermanentError::EmptySplit { split });
        }
    }
    let training = manifest.split(Split::Train).into_iter();
    let mut present = training
        .flat_map(|split| &split.by_class)
        .filter(|&(_, &images)| images > 0);
    match (present.next(), present.next()) {
        (Some((class, _)), None) => Err(PermanentError::OneClass {
            class: class.clone(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use maskline_dataset::{LAYOUT_VERSION, SplitManifest};
    use maskline_messages::SplitSettings;
    use maskline_test_support::{embedded::Embedded, messages::label};

    use super::*;

    fn manifest(train: [u64; 2], validation: [u64; 2]) -> Manifest {
        let classes = ["with_mask", "without_mask"].map(label);
        let split = |images: [u64; 2]| SplitManifest {
            images: images.iter().sum(),
            by_class: classes.clone().into_iter().zip(images).collect(),
            faces: None,
            shards: vec![],
        };
        Manifest {
            version: LAYOUT_VERSION,
            dataset: DatasetId::of(b"a dataset"),
            splits: [
                (Split::Train, split(train)),
                (Split::Validation, split(validation)),
                (Split::Test, SplitManifest::default()),
            ]
            .into(),
            classes: classes.to_vec(),
            split_settings: SplitSettings::default(),
            near_duplicate_groups: 0,
            set_aside: 0,
        }
    }

    #[test]
    fn two_classes_to_learn_from_and_to_validate_by_can_be_trained_on() {
        check_trainable(&manifest([4, 4], [1, 1])).unwrap();
    }

    #[test]
    fn a_dataset_that_cannot_be_trained_on_is_a_permanent_error() {
        let one_class = check_trainable(&manifest([4, 0], [1, 1])).unwrap_err();
        assert!(
            matches!(&one_class, PermanentError::OneClass { class } if class.as_str() == "with_mask")
        );
        let empty = check_trainable(&manifest([4, 4], [0, 0])).unwrap_err();
        let split = Split::Validation;
        assert_eq!(empty, PermanentError::EmptySplit { split });
        assert!(empty.to_string().contains("validation"), "{empty}");
        let mut only_tests = manifest([0, 0], [0, 0]);
        only_tests.splits.get_mut(&Split::Test).unwrap().images = 2;
        assert_eq!(
            check_trainable(&only_tests).unwrap_err(),
            PermanentError::OnlyTestImages
        );
    }

    #[tokio::test]
    async fn a_manifest_of_another_version_or_of_none_is_a_damaged_dataset() {
        let store = Embedded::open().await;
        let cases = [
            (
                DatasetId::of(b"earlier"),
                &br#"{"version":1}"#[..],
                "version 1",
            ),
            (DatasetId::of(b"broken"), b"{", "manifest"),
        ];
        for (dataset, json, expected) in cases {
            let key = ObjectKey::manifest(&dataset);
            store.objects.put(&key, json.into()).await.unwrap();
            let error = read(&store.objects, &dataset).await.unwrap_err();
            let permanent = error.downcast_ref::<PermanentError>();
            assert!(matches!(
                permanent,
                Some(PermanentError::DamagedDataset { .. })
            ));
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
