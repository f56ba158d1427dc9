//! A linear probe is a run like any other.

use std::collections::BTreeMap;

use maskline_messages::CollectionName;
use maskline_models::Classifier;
use maskline_storage::records::{Collection, Dataset, SplitSettings};

use super::*;

async fn features(store: &Embedded, dataset: DatasetId) -> Vec<ObjectKey> {
    let folder = format!("datasets/{dataset}/features");
    store.objects.list(&folder, None, 100).await.unwrap()
}

#[tokio::test]
async fn a_linear_probe_is_published_like_any_model_with_what_it_predicted_out_of_fold() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let drawing = Drawing {
        test: [4, 4],
        ..Drawing::default()
    };
    let dataset = drawing.freeze(&store.objects).await;
    let id = request_of(&store, dataset, Method::LinearProbe, settings()).await;
    assert!(trainer(&store).work(&store.context("one")).await.unwrap());

    let run = run(&store, id).await;
    assert_eq!((run.state, run.error.clone()), (RunState::Done, None));
    assert_eq!((run.epoch, run.epochs()), (1, 1));
    let model = store.catalog.model(id).await.unwrap().unwrap();
    assert_eq!(model.network, Method::LinearProbe);
    assert!(model.accuracy > 0.9, "{} of the squares", model.accuracy);
    assert_eq!(run.accuracy, Some(model.accuracy));
    assert_eq!(model.evaluation.unwrap().test.unwrap().images, 8);

    let weights = weights(&store, id).await;
    let classifier = Classifier::load(&weights, &compute().device).unwrap();
    assert_eq!(classifier.card().network, NetworkName::EfficientnetLite0);
    assert_eq!(classifier.card().classes, model.classes);

    let table = object(&store, ObjectKey::model_out_of_fold(id)).await;
    let table = String::from_utf8(table.to_vec()).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "image_id,label,fold,p_blue,p_red");
    assert_eq!(lines.len(), 1 + 48, "a line for each training image");

    let report = report(&store, id).await;
    assert_eq!(report["network"], "linear_probe");
    assert_eq!(report["epochs"].as_array().unwrap().len(), 0);
    assert_eq!(report["probe"]["images"], 48);
    assert_eq!(report["probe"]["computed"], 48);
    assert_eq!(report["probe"]["folds"], 5);
    let page = object(&store, ObjectKey::model_report_page(id)).await;
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains("A linear probe has no epochs"));
    assert_eq!(store.waiting(Queue::StorerJobs).await, 1);
}

#[tokio::test]
async fn features_are_computed_once_also_for_the_next_version_and_damaged_ones_again() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let (trainer, context) = (trainer(&store), store.context("one"));
    let first = Drawing::default().freeze(&store.objects).await;
    let id = request_of(&store, first, Method::LinearProbe, settings()).await;
    assert!(trainer.work(&context).await.unwrap());
    let kept = features(&store, first).await;
    assert_eq!(kept.len(), 3, "an object for each shard");
    assert_eq!(report(&store, id).await["probe"]["computed"], 48);

    // Other settings, the same images.
    let again = TrainingSettings {
        seed: 7,
        ..settings()
    };
    let id = request_of(&store, first, Method::LinearProbe, again.clone()).await;
    assert!(trainer.work(&context).await.unwrap());
    assert_eq!(report(&store, id).await["probe"]["computed"], 0);

    // The same images and more in a later version.
    let more = Drawing {
        training: [24, 24],
        validation: [9, 9],
        ..Drawing::default()
    };
    let second = more.freeze(&store.objects).await;
    let collection = Collection::new(CollectionName::default(), vec![], SplitSettings::default());
    store.catalog.create_collection(&collection).await.unwrap();
    record(&store, first, None).await;
    record(&store, second, Some(first)).await;
    let id = request_of(&store, second, Method::LinearProbe, settings()).await;
    assert!(trainer.work(&context).await.unwrap());
    let report_of_second = report(&store, id).await;
    assert_eq!(report_of_second["probe"]["images"], 48);
    assert_eq!(report_of_second["probe"]["computed"], 0);

    // An object that is cut off, and another size of the pictures.
    let damaged = &features(&store, second).await[0];
    let bytes = store.objects.get(damaged).await.unwrap();
    store
        .objects
        .put(damaged, bytes.slice(..bytes.len() / 2))
        .await
        .unwrap();
    let id = request_of(&store, second, Method::LinearProbe, again).await;
    assert!(trainer.work(&context).await.unwrap());
    assert_eq!(
        report(&store, id).await["probe"]["computed"],
        0,
        "the version before has them"
    );
    let larger = TrainingSettings {
        pixels: 40,
        ..settings()
    };
    let id = request_of(&store, second, Method::LinearProbe, larger).await;
    assert!(trainer.work(&context).await.unwrap());
    assert_eq!(report(&store, id).await["probe"]["computed"], 48);
}

/// Records a version in the catalog.
async fn record(store: &Embedded, id: DatasetId, parent: Option<DatasetId>) {
    let dataset = Dataset {
        id,
        content: id,
        collection: CollectionName::default(),
        parent,
        sources: vec![],
        classes: vec![],
        images: BTreeMap::new(),
        near_duplicate_groups: 0,
        set_aside: 0,
        withheld: 0,
        several_faces: 0,
        split: SplitSettings::default(),
        created: now(),
    };
    let name = &dataset.collection;
    let settled = store.catalog.settled(name).await.unwrap();
    let settled = settled.expect("nothing is in flight");
    let version = store.catalog.add_version(&dataset, &settled).await;
    assert!(version.unwrap().is_some());
}

#[tokio::test]
async fn a_probe_that_is_interrupted_is_given_back_and_goes_on_with_its_features() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let dataset = Drawing::default().freeze(&store.objects).await;
    let id = request_of(&store, dataset, Method::LinearProbe, settings()).await;
    let context = store.context("one");
    context.stopping.cancel();
    assert!(trainer(&store).work(&context).await.unwrap());
    assert_eq!(run(&store, id).await.state, RunState::Open);
    assert!(trainer(&store).work(&store.context("two")).await.unwrap());
    assert_eq!(run(&store, id).await.state, RunState::Done);
}
