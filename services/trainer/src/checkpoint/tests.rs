use maskline_messages::{DatasetId, NetworkName, TrainingSettings};
use maskline_models::prediction::Score;
use maskline_test_support::embedded::Embedded;

use super::*;
use crate::{
    metrics::{Epoch, TrainingTally},
    parts::Parts,
};

fn run() -> RunId {
    let settings = TrainingSettings::default();
    RunId::of(
        &DatasetId::of(b"a dataset"),
        NetworkName::MobilenetV2,
        &settings,
    )
}

fn snapshot(epochs: usize, step: usize, content: &str) -> Snapshot {
    let score = |loss| Score {
        accuracy: 0.1 + 0.2,
        loss,
    };
    let epoch = |index| Epoch {
        parts: Parts::default(),
        epoch: index + 1,
        learning_rate: 1.0 / 3.0,
        training: score(1.0 / 3.0),
        validation: score(f32::MIN_POSITIVE),
        images_per_second: 130.5,
        device: "cpu".to_owned(),
    };
    Snapshot {
        progress: TrainingProgress {
            parts: Parts::default(),
            epochs: (0..epochs).map(epoch).collect(),
            step,
            tally: TrainingTally {
                images: 3,
                right: 1.7,
                loss: 0.5,
            },
            training_seconds: 0.25,
            seconds: 2.5,
        },
        network: Bytes::from(format!("network {content}")),
        optimizer: Bytes::from(format!("optimizer {content}")),
    }
}

#[tokio::test]
async fn the_latest_checkpoint_is_loaded_as_it_was_saved_and_earlier_ones_are_removed() {
    let store = Embedded::open().await;
    assert_eq!(load(&store.objects, run()).await.unwrap(), None);
    for (epochs, step) in [(0, 5), (1, 0), (1, 12), (2, 0), (10, 0)] {
        let saved = snapshot(epochs, step, &format!("{epochs} {step}"));
        save(&store.objects, run(), &saved).await.unwrap();
        assert_eq!(load(&store.objects, run()).await.unwrap(), Some(saved));
    }
    assert_eq!(keys(&store.objects, run()).await.unwrap().len(), 3);
    clear(&store.objects, run()).await.unwrap();
    assert!(keys(&store.objects, run()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_trainer_that_dies_while_it_saves_leaves_the_checkpoint_before() {
    let store = Embedded::open().await;
    let whole = snapshot(1, 0, "whole");
    save(&store.objects, run(), &whole).await.unwrap();
    // The objects of the next checkpoint are there, but its index is not.
    let half = ObjectKey::checkpoint(run(), CheckpointPart::Network, b"half");
    store
        .objects
        .put(&half, Bytes::from_static(b"half"))
        .await
        .unwrap();
    assert_eq!(load(&store.objects, run()).await.unwrap(), Some(whole));
    save(&store.objects, run(), &snapshot(2, 0, "next"))
        .await
        .unwrap();
    assert_eq!(store.objects.size(&half).await.unwrap(), None);
}

#[tokio::test]
async fn checkpoints_that_are_incomplete_or_of_a_later_version_are_skipped() {
    let store = Embedded::open().await;
    let whole = snapshot(1, 0, "whole");
    save(&store.objects, run(), &whole).await.unwrap();
    let missing = ObjectKey::checkpoint(run(), CheckpointPart::Network, b"gone");
    let incomplete = Index {
        version: VERSION,
        network: missing.clone(),
        optimizer: missing,
        progress: TrainingProgress::default(),
    };
    put_index(&store, 2, &incomplete).await;
    let part = |part, content: &Bytes| ObjectKey::checkpoint(run(), part, content);
    let later = Index {
        version: VERSION + 1,
        network: part(CheckpointPart::Network, &whole.network),
        optimizer: part(CheckpointPart::Optimizer, &whole.optimizer),
        progress: TrainingProgress::default(),
    };
    put_index(&store, 3, &later).await;
    assert_eq!(load(&store.objects, run()).await.unwrap(), Some(whole));
    let earlier = Index {
        version: 1,
        ..later
    };
    put_index(&store, 4, &earlier).await;
    let loaded = load(&store.objects, run()).await.unwrap().unwrap();
    assert_eq!(loaded.progress, TrainingProgress::default());
}

async fn put_index(store: &Embedded, epochs: usize, index: &Index) {
    let json = serde_json::to_vec(index).unwrap();
    let part = CheckpointPart::Index { epochs, steps: 0 };
    let key = ObjectKey::checkpoint(run(), part, &json);
    store.objects.put(&key, json.into()).await.unwrap();
}
