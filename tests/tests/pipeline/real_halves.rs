//! The photographs of `../shared/data`, half of them from one source and half from another that
//! is enqueued later. Without that folder the tests pass without checking anything.

use std::{collections::BTreeSet, fs, path::Path};

use maskline_messages::{DatasetId, ImageId, JobId};
use maskline_storage::records::CandidateState;
use maskline_test_support::{environment::Environment, real_images};
use maskline_tests::{dataset::FrozenDataset, process::Pipeline};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;

/// More images than there are.
const ALL: usize = 100_000;

/// What is known of a photograph.
#[derive(Debug, Deserialize)]
struct Photograph {
    /// The path, whose folder is named after the class.
    file: String,
    sha256: ImageId,
}

/// Exact copies are stored once, whichever half has them, and photographs that look the same are
/// found, also where each is from another half.
pub async fn two_halves_of_real_photographs_become_one_collection(environment: &mut Environment) {
    let Some(data) = real_images::folder() else {
        return;
    };
    let mut table = csv::Reader::from_path(data.join("face-masks.csv")).expect("a table");
    let photographs: Vec<Photograph> = table.deserialize().map(|row| row.expect("a row")).collect();
    let halves = ["first", "second"].map(|half| environment.folder().join(half));
    for (number, photograph) in photographs.iter().enumerate() {
        let from = data.join("face-masks").join(&photograph.file);
        copy(&from, &halves[number % 2].join(&photograph.file));
    }

    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;
    let mut jobs = vec![];
    for half in &halves {
        let half = half.to_str().expect("a plain path");
        jobs.push(enqueue(environment, half).await);
    }
    pipeline.stop().await;

    let stored = stored(environment, &jobs).await;
    let copies = photographs
        .iter()
        .filter(|one| stored.contains(&one.sha256));
    let copies = copies.count() - stored.len();
    let rejected = |job: &Value| job["rejected_by_reason"]["exact_duplicate"].as_u64();
    let rejected: u64 = jobs.iter().filter_map(rejected).sum();
    assert_eq!(rejected, copies as u64, "exact copies");
    assert!(copies > 20, "{copies} copies say little");

    let first = FrozenDataset::read(environment, dataset(&jobs[0])).await;
    let second = FrozenDataset::read(environment, dataset(&jobs[1])).await;
    assert!(second.rows.keys().all(|image| stored.contains(image)));
    let was_trained = |image: &ImageId| {
        first
            .rows
            .get(image)
            .is_some_and(|row| row.split == "train")
    };
    let validated = second
        .rows
        .iter()
        .filter(|(_, row)| row.split == "validation");
    let leaked: Vec<_> = validated.filter(|(image, _)| was_trained(image)).collect();
    assert_eq!(leaked.len(), 0, "trained on before, and validated now");

    // The groups of images that look the same are those of one source with all photographs.
    let catalog = environment.stores().await.catalog;
    let of_halves = catalog.dataset(&dataset(&jobs[1])).await;
    let of_halves = of_halves
        .expect("the catalog answers")
        .expect("it is recorded");
    let found = [of_halves.near_duplicate_groups, of_halves.set_aside];
    assert_eq!(
        found,
        *OF_ONE_SOURCE.get_or_init(|| of_one_source(&data)).await
    );
    assert!(found[0] > 50, "{found:?} say little");
}

/// What one source with all photographs gives: the number of groups of images that look the same,
/// and the number of images that are set aside.
static OF_ONE_SOURCE: OnceCell<[u64; 2]> = OnceCell::const_new();

async fn of_one_source(data: &Path) -> [u64; 2] {
    let environment = Environment::embedded();
    let pipeline = Pipeline::start(&environment, &Pipeline::STAGES).await;
    let folder = data.join("face-masks");
    let folder = folder.to_str().expect("a plain path");
    let job = enqueue(&environment, folder).await;
    pipeline.stop().await;
    let catalog = environment.stores().await.catalog;
    let frozen = catalog.dataset(&dataset(&job)).await;
    let frozen = frozen
        .expect("the catalog answers")
        .expect("it is recorded");
    [frozen.near_duplicate_groups, frozen.set_aside]
}

async fn enqueue(environment: &Environment, folder: &str) -> Value {
    let args = [
        "enqueue",
        "folder",
        folder,
        "--label-from",
        "folder",
        "--wait",
    ];
    environment.json(&args).await.remove(0)
}

fn copy(from: &Path, to: &Path) {
    let folder = to.parent().expect("a file in a folder");
    fs::create_dir_all(folder).expect("a temporary folder takes folders");
    fs::copy(from, to).expect("a temporary folder takes files");
}

fn dataset(job: &Value) -> DatasetId {
    let dataset = job["dataset"].as_str().expect("the job was frozen");
    dataset.parse().expect("a dataset id")
}

/// The images that are stored for the jobs. None of them may be there twice.
async fn stored(environment: &Environment, jobs: &[Value]) -> BTreeSet<ImageId> {
    let catalog = environment.stores().await.catalog;
    let mut images = BTreeSet::new();
    for job in jobs {
        let id: JobId = job["id"].as_str().expect("an id").parse().expect("a job");
        let state = CandidateState::Stored;
        let stored = catalog.candidates_in(id, state, None, ALL).await;
        for candidate in stored.expect("the catalog answers") {
            let image = candidate.image.expect("a stored candidate has an image");
            assert!(images.insert(image), "{image} is stored twice");
        }
    }
    images
}
