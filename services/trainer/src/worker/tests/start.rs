//! What the weights of a run begin from.

use maskline_messages::{Start, View, WeightsId};

use super::*;

#[tokio::test]
async fn a_network_begins_from_the_pretrained_weights_that_maskline_has() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let settings = TrainingSettings {
        start: Start::Pretrained,
        frozen_blocks: 3,
        ..settings()
    };
    let id = request_of(&store, dataset, NetworkName::EfficientnetLite0, settings).await;
    assert!(trainer(&store).work(&store.context("one")).await.unwrap());
    assert_eq!(run(&store, id).await.state, RunState::Done);
    let published = weights(&store, id).await;
    let published = safetensors::SafeTensors::deserialize(&published).unwrap();
    let backbone = maskline_pretrained::EFFICIENTNET_LITE0.safetensors;
    let backbone = safetensors::SafeTensors::deserialize(backbone).unwrap();
    let floats: Vec<f32> = published
        .tensor("_conv_stem.weight")
        .unwrap()
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    let halves = backbone.tensor("_conv_stem.weight").unwrap();
    let halves = halves.data().as_chunks().0.iter();
    let halves: Vec<f32> = halves
        .map(|&bytes| half::f16::from_le_bytes(bytes).to_f32())
        .collect();
    assert_eq!(floats, halves, "the stem is frozen");
}

#[tokio::test]
async fn a_run_without_its_weights_fails_and_says_what_to_do() {
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let missing = WeightsId::of(b"nobody stored them");
    for (start, expected) in [
        (
            Start::Pretrained,
            "no pretrained weights of mobilenet_v3_small",
        ),
        (Start::Stored(missing), "are not in the object store"),
    ] {
        let settings = TrainingSettings {
            start,
            ..settings()
        };
        let id = request(&store, dataset, settings).await;
        assert!(trainer(&store).work(&store.context("one")).await.unwrap());
        let run = run(&store, id).await;
        assert_eq!(run.state, RunState::Failed);
        let error = run.error.unwrap();
        assert!(
            error.contains(expected) && error.contains("--from"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_run_begins_from_stored_weights_and_its_card_says_what_it_is_shown() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let whole = TrainingSettings {
        view: View::Whole,
        ..settings()
    };
    let first = request(&store, dataset, whole.clone()).await;
    let trainer = trainer(&store);
    assert!(trainer.work(&store.context("one")).await.unwrap());
    let published = weights(&store, first).await;
    let card = maskline_models::weights::card(&published).unwrap();
    assert_eq!(card.view, View::Whole);
    let id = WeightsId::of(&published);
    store
        .objects
        .put(&ObjectKey::weights(&id), published)
        .await
        .unwrap();
    let settings = TrainingSettings {
        start: Start::Stored(id),
        epochs: 1,
        ..whole
    };
    let second = request(&store, dataset, settings).await;
    assert!(trainer.work(&store.context("two")).await.unwrap());
    assert_eq!(run(&store, second).await.state, RunState::Done);
}
