//! What a dataset's test split is for: the finished network is measured on it, for each source,
//! and it decides nothing.

use maskline_messages::{Location, Source, SourceRole};
use maskline_storage::records::{Evaluation, Job, SourceScore};
use maskline_test_support::records;
use serde_json::json;

use super::*;

/// Records the job of a list that has this address.
async fn source(store: &Embedded, list: &str, role: SourceRole) -> JobId {
    let list = list.parse().unwrap();
    let job = Job {
        source: Source::Urls {
            list: Location::Url(list),
            url_column: None,
        },
        role,
        ..records::job()
    };
    records::create_job(&*store.catalog, &job).await;
    job.id
}

/// A dataset with a test split. Of its 16 validation images, the first ten are from one list, the
/// tenth from another list as well, and of the rest nobody knows it. Of the 6 test images, four
/// are from a test list, of which one is in a list to train on as well, and two are from a job
/// that is not in the catalog.
async fn with_test_split(store: &Embedded) -> (Drawing, [JobId; 4]) {
    let one = source(store, "https://h/one.csv?token=hunter2", SourceRole::Train).await;
    let other = source(store, "https://h/other.csv", SourceRole::Train).await;
    let elsewhere = source(store, "https://h/elsewhere.csv", SourceRole::Test).await;
    let gone = JobId::draw();
    let mut validation = vec![vec![one]; 9];
    validation.push(vec![one, other]);
    let mut test = vec![vec![elsewhere]; 3];
    test.push(vec![one, elsewhere]);
    test.extend([vec![gone], vec![gone]]);
    let drawing = Drawing {
        test: [3, 3],
        jobs: [(Split::Validation, validation), (Split::Test, test)].into(),
        ..Drawing::default()
    };
    (drawing, [one, other, elsewhere, gone])
}

fn images(sources: &[SourceScore]) -> Vec<(&str, u64)> {
    let sources = sources.iter();
    sources
        .map(|score| (score.source.as_str(), score.images))
        .collect()
}

async fn evaluation(store: &Embedded, id: RunId) -> Evaluation {
    let model = store.catalog.model(id).await.unwrap().unwrap();
    assert_eq!(run(store, id).await.evaluation, model.evaluation);
    model.evaluation.unwrap()
}

#[tokio::test]
async fn the_finished_network_is_measured_on_test_images_and_for_each_source() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let (drawing, [.., gone]) = with_test_split(&store).await;
    let drawing = Drawing {
        faces: true,
        ..drawing
    };
    let dataset = drawing.freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    trainer(&store).work(&store.context("one")).await.unwrap();

    let measured = evaluation(&store, id).await;
    let (validation, test) = (&measured.validation, measured.test.as_ref().unwrap());
    assert_eq!((validation.images, test.images), (16, 6));
    let one = "URL list https://h/one.csv?token=REDACTED";
    assert_eq!(
        images(&validation.sources),
        [(one, 10), ("URL list https://h/other.csv", 1)]
    );
    let unknown = format!("job {gone}");
    assert_eq!(
        images(&test.sources),
        [
            ("URL list https://h/elsewhere.csv", 4),
            (unknown.as_str(), 2)
        ]
    );
    let right: f32 = test
        .sources
        .iter()
        .map(|source| source.accuracy * source.images as f32)
        .sum();
    assert!((right / 6.0 - test.accuracy).abs() < 1e-6, "{test:#?}");
    for source in &test.sources {
        let [low, high] = source.interval.unwrap();
        assert!((low..=high).contains(&source.accuracy), "{source:?}");
        // Four images tell little, and two less.
        assert!(high - low > 0.4, "{source:?}");
    }

    let report = report(&store, id).await;
    assert_eq!(report["evaluation"]["test"]["images"], 6);
    let confusion = report["test_confusion"].as_array().unwrap().iter();
    let counts = confusion.flat_map(|row| row.as_array().unwrap());
    assert_eq!(counts.map(|count| count.as_u64().unwrap()).sum::<u64>(), 6);
    assert_eq!(report["dataset"]["images"]["test"]["red"], 3);
    // Each picture has one face, which is more than half as long as the picture.
    for (of_split, images) in [("test_faces", 6), ("faces", 16)] {
        let rows = report[of_split].as_array().unwrap().iter();
        let rows: Vec<_> = rows.map(|row| (&row["pictures"], &row["images"])).collect();
        let large = "with one face, 1/2 of the image's longer side or more";
        assert_eq!(rows.len(), 2, "{of_split}: {rows:?}");
        assert_eq!(rows[0], (&json!("with one face"), &json!(images)));
        assert_eq!(rows[1], (&json!(large), &json!(images)));
    }
    let page = object(&store, ObjectKey::model_report_page(id)).await;
    let page = String::from_utf8(page.into()).unwrap();
    let places =
        ["of the test images", "of the validation images", one].map(|text| page.find(text));
    assert!(places[0].is_some() && places.is_sorted(), "{places:?}");
    for text in [
        "The 6 test images are unseen",
        "test images with one face",
        "validation images with one face",
    ] {
        assert!(page.contains(text), "no {text}");
    }
    assert!(!page.contains("has no test split") && !page.contains("hunter2"));
}

#[tokio::test]
async fn test_images_change_nothing_of_the_training() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let (with, _) = with_test_split(&store).await;
    let with = with.freeze(&store.objects).await;
    let without = Drawing::default().freeze(&store.objects).await;
    let ids = [
        request(&store, with, settings()).await,
        request(&store, without, settings()).await,
    ];
    let (trainer, context) = (trainer(&store), store.context("one"));
    while trainer.work(&context).await.unwrap() {}
    let [with, without] = ids;
    assert_ne!(with, without);
    assert!(weights(&store, with).await == weights(&store, without).await);
    let (tested, untested) = (
        evaluation(&store, with).await,
        evaluation(&store, without).await,
    );
    assert_eq!(
        (tested.validation.accuracy, tested.validation.loss),
        (untested.validation.accuracy, untested.validation.loss)
    );
    // The dataset was frozen as an earlier build does it.
    assert_eq!((untested.test, untested.validation.sources), (None, vec![]));
    let page = object(&store, ObjectKey::model_report_page(without)).await;
    let page = String::from_utf8(page.into()).unwrap();
    assert!(page.contains("has no test split") && page.contains("--role test"));
    assert!(!page.contains("unseen") && !page.contains("test images with"));
}

#[tokio::test]
async fn a_test_shard_that_is_missing_is_found_before_the_training() {
    let store = Embedded::open().await;
    let (drawing, _) = with_test_split(&store).await;
    let dataset = drawing.freeze(&store.objects).await;
    let file = Split::Test.shard_file(0, 1);
    let key = ObjectKey::dataset_file(&dataset, &file).unwrap();
    store.objects.delete(&key).await.unwrap();
    let id = request(&store, dataset, settings()).await;
    trainer(&store).work(&store.context("one")).await.unwrap();
    let run = run(&store, id).await;
    assert_eq!((run.state, run.epoch), (RunState::Failed, 0));
    let error = run.error.unwrap();
    assert!(error.contains(&format!("{file} is missing")), "{error}");
}

#[tokio::test]
async fn a_published_model_is_measured_on_another_dataset_as_its_trainer_did() {
    let _alone = alone().await;
    let store = Embedded::open().await;
    let (drawing, _) = with_test_split(&store).await;
    let dataset = drawing.freeze(&store.objects).await;
    let id = request(&store, dataset, settings()).await;
    trainer(&store).work(&store.context("one")).await.unwrap();
    let by_trainer = evaluation(&store, id).await;
    let model = weights(&store, id).await;
    let measure = |dataset| {
        let model = model.clone();
        let (objects, jobs) = (store.objects.clone(), store.catalog.clone());
        async move { crate::evaluate(&objects, &*jobs, &dataset, model, compute()).await }
    };
    let mut again = measure(dataset).await.unwrap();
    // Batches of another size are computed with other roundings.
    let loss = again.validation.loss;
    assert!((loss - by_trainer.validation.loss).abs() < 1e-4, "{loss}");
    again.validation.loss = by_trainer.validation.loss;
    let (again_test, test) = (
        again.test.as_mut().unwrap(),
        by_trainer.test.clone().unwrap(),
    );
    assert!((again_test.loss - test.loss).abs() < 1e-4);
    again_test.loss = test.loss;
    assert_eq!(again, by_trainer);

    let other = Drawing {
        classes: ["green", "red"],
        training: [0, 1],
        ..Drawing::default()
    };
    let other = other.freeze(&store.objects).await;
    let refused = measure(other).await.unwrap_err().to_string();
    assert!(
        refused.contains("knows the classes blue, red, and the dataset has green, red"),
        "{refused}"
    );
}
