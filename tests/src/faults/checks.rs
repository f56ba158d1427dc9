//! Checks whether the jobs ended as if they had never been disturbed. The checks look from
//! outside, at the catalog, the object store and the broker.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use maskline_messages::{DatasetId, ImageId, Location, ObjectKey};
use maskline_runtime::Broker;
use maskline_storage::records::{Candidate, CandidateState};
use mongodb::bson::{Document, doc};

use super::{
    expected::Expected,
    job_under_test::{JobUnderTest, depths, retried, until},
    trial::Trial,
};
use crate::{
    collection::{EndState, Entry, counts_of_all},
    dataset::FrozenDataset,
};

/// How many candidates and images are asked for at a time.
const PAGE: usize = 1_000;
/// How many images are compared at the same time.
const COMPARED: usize = 16;
/// A limit for lists that are wanted whole: a collection is small enough.
const ALL: usize = usize::MAX >> 1;
/// How many of the last log lines of each replica are shown when a job hangs.
const LAST_LINES: usize = 5;

/// Waits until the job has ended and all is quiet, and checks it. Returns whether it has
/// ended.
pub async fn check(job: &mut JobUnderTest, trial: &mut Trial) -> bool {
    for problem in job.replicas.ended_early() {
        trial.record_problem(problem);
    }
    let ended = until(async || job.is_over().await && job.is_quiet().await);
    if !ended.await {
        let id = job.id.to_string();
        let status = job.environment.maskline(&["status", &id]).await;
        trial.record_problem(format_args!("the job does not end:\n{status}"));
        for replica in &job.replicas.all {
            let log = replica.process.log();
            let last: Vec<&str> = log.lines().rev().take(LAST_LINES).collect();
            trial.log(format_args!("{} logged last: {last:#?}", replica.title()));
        }
        return false;
    }
    for problem in find_problems(job, &job.expected).await {
        trial.record_problem(problem);
    }
    true
}

/// Like [`check`]. Then it stops the replicas and removes the environment.
pub async fn check_and_remove(mut job: JobUnderTest, trial: &mut Trial) {
    let has_ended = check(&mut job, trial).await;
    remove(job, has_ended, trial).await;
}

/// Stops the replicas and removes the environment. If the job has ended, the replicas must
/// end well and leave no message behind.
pub async fn remove(job: JobUnderTest, has_ended: bool, trial: &mut Trial) {
    if has_ended {
        for problem in job.replicas.stop().await {
            trial.record_problem(problem);
        }
        // A message that a service gave back when it stopped would be there now.
        for problem in broker_problems(&*job.broker).await {
            trial.record_problem(problem);
        }
        let counts = job.expected.collection.counts();
        trial.log(format_args!("judged: {} candidates", counts["found"]));
    }
    job.broker.close().await;
    job.environment.remove().await;
}

/// Describes every difference between the job's results and those of an undisturbed run.
pub async fn find_problems(job: &JobUnderTest, expected: &Expected) -> Vec<String> {
    let candidates = candidates(job).await;
    let mut problems = count_problems(job, expected).await;
    problems.extend(candidate_problems(&candidates, expected));
    problems.extend(dataset_problems(job, expected).await);
    problems.extend(document_problems(job, &candidates).await);
    problems.extend(image_problems(job, &candidates).await);
    problems.extend(object_problems(job, expected, &candidates).await);
    problems.extend(broker_problems(&*job.broker).await);
    problems
}

/// No message may wait or be in flight, and none may be dead-lettered.
pub async fn broker_problems(broker: &dyn Broker) -> Vec<String> {
    let mut problems = vec![];
    for (queue, depth) in depths(broker).await {
        if depth != Default::default() {
            problems.push(format!("{queue} is not empty: {depth:?}"));
        }
    }
    let dead_letters = retried("dead letters", async || broker.dead_letters(ALL).await);
    for dead_letter in dead_letters.await {
        problems.push(format!(
            "a dead letter from {}, dead-lettered by {}: {}",
            dead_letter.queue, dead_letter.stage, dead_letter.error
        ));
    }
    problems
}

/// The counts and states that `maskline status` shows must be right.
async fn count_problems(job: &JobUnderTest, expected: &Expected) -> Vec<String> {
    let (mut problems, mut sources) = (vec![], vec![]);
    for source in &job.sources {
        let args = ["status", &source.to_string()];
        sources.push(job.environment.json(&args).await.remove(0));
    }
    let (found, expected) = (counts_of_all(&sources), expected.collection.counts());
    if found != expected {
        problems.push(format!("the counts are {found}, not {expected}"));
    }
    let status = sources.pop().expect("there is a last source");
    for source in sources {
        if source["state"] != "frozen" {
            problems.push(format!("an earlier source is not frozen: {source}"));
        }
    }
    let (state, error) = (&status["state"], &status["error"]);
    if state != "frozen" && state != "done" {
        problems.push(format!("the job is {state}: {error}"));
    }
    let runs = status["runs"].as_array().expect("a list");
    for run in runs.iter().filter(|run| run["state"] != "done") {
        problems.push(format!("a run is not done: {run}"));
    }
    problems
}

/// All candidates. Each state is asked for separately, so that a candidate in two states
/// would be there twice.
async fn candidates(job: &JobUnderTest) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = vec![];
    let states = [
        CandidateState::InFlight,
        CandidateState::Stored,
        CandidateState::Rejected,
        CandidateState::Failed,
    ];
    let sources = job.sources.iter();
    for (source, state) in sources.flat_map(|source| states.map(|state| (source, state))) {
        let mut after = None;
        loop {
            let catalog = &job.stores.catalog;
            let page = catalog.candidates_in(*source, state, after, PAGE).await;
            let page = page.expect("the catalog answers");
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            all.extend(page);
        }
    }
    all
}

/// How many candidates ended in each state. Candidates with the same bytes are counted
/// together, because the first of them to come is stored and the others are rejected.
type EndStates = BTreeMap<String, usize>;

/// Every candidate must be in one end state, and in the right one.
fn candidate_problems(candidates: &[Candidate], expected: &Expected) -> Vec<String> {
    let mut problems = vec![];
    let ids: BTreeSet<_> = candidates.iter().map(|candidate| candidate.id).collect();
    if ids.len() != candidates.len() {
        let twice = candidates.len() - ids.len();
        problems.push(format!("{twice} candidates are in several states"));
    }
    let by_path: BTreeMap<&str, &Entry> = expected
        .collection
        .entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry))
        .collect();
    let mut found: BTreeMap<String, EndStates> = BTreeMap::new();
    for candidate in candidates {
        // Entries are recognized by their path. Other candidates are lines of the list.
        let entry = match &candidate.location {
            Location::Url(url) => by_path.get(url.path().trim_start_matches('/')),
            _ => None,
        };
        let group = entry.map_or("a line of the list".to_owned(), |entry| group_of(entry));
        let end = match (&candidate.state, &candidate.reason) {
            (CandidateState::Rejected, Some(reason)) => reason.code().to_owned(),
            (state, _) => state.as_str().to_owned(),
        };
        *found.entry(group).or_default().entry(end).or_default() += 1;
    }
    let mut wanted: BTreeMap<String, EndStates> = BTreeMap::new();
    let entries = expected.collection.entries.iter();
    let entries = entries.map(|entry| (group_of(entry), entry.end_state));
    let lines = expected.collection.bad_lines.iter();
    let lines = lines.map(|(_, code)| ("a line of the list".to_owned(), EndState::Rejected(code)));
    for (group, end) in entries.chain(lines) {
        let end = match end {
            EndState::Stored => CandidateState::Stored.as_str(),
            EndState::Rejected(code) => code,
        };
        let ends = wanted.entry(group).or_default();
        *ends.entry(end.to_owned()).or_default() += 1;
    }
    let groups: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    for group in groups {
        let (found, wanted) = (found.get(group), wanted.get(group));
        if found != wanted {
            problems.push(format!("{group} ended as {found:?}, not {wanted:?}"));
        }
    }
    problems
}

/// The name of the group of entries with the same bytes.
fn group_of(entry: &Entry) -> String {
    match &entry.file {
        Some(file) => format!("image {}", ImageId::of(file)),
        None => entry.path.clone(),
    }
}

/// There must be one dataset, that of the undisturbed run, with every image that belongs in
/// it.
async fn dataset_problems(job: &JobUnderTest, expected: &Expected) -> Vec<String> {
    let mut problems = vec![];
    let datasets = job.stores.catalog.datasets(PAGE).await;
    let datasets = datasets.expect("the catalog answers").into_iter();
    let recorded: Vec<DatasetId> = datasets.map(|dataset| dataset.id).collect();
    if recorded != [expected.dataset] {
        problems.push(format!(
            "the datasets are {recorded:?}, not {}",
            expected.dataset
        ));
    }
    let record = job.stores.catalog.job(job.id).await;
    let record = record.expect("the catalog answers");
    let record = record.expect("the job was enqueued");
    if record.dataset != Some(expected.dataset) {
        problems.push(format!("the job's dataset is {:?}", record.dataset));
    }
    if !recorded.contains(&expected.dataset) {
        return problems;
    }
    let frozen = FrozenDataset::read(&job.environment, expected.dataset).await;
    if frozen.labels() != expected.collection.dataset_labels() {
        problems.push("the dataset has other images or labels".to_owned());
    }
    for (one, other) in &expected.collection.near_duplicates {
        if frozen.split(one) != frozen.split(other) {
            problems.push(format!(
                "{one} and {other} look the same and are in different splits"
            ));
        }
    }
    problems
}

/// MongoDB must have one document for each candidate, image and claim.
async fn document_problems(job: &JobUnderTest, candidates: &[Candidate]) -> Vec<String> {
    let Some(database) = job.environment.database().await else {
        return vec![];
    };
    let is_stored = |candidate: &&Candidate| candidate.state == CandidateState::Stored;
    let stored = candidates.iter().filter(is_stored).count();
    let mut problems = vec![];
    for (name, expected) in [
        ("candidates", candidates.len()),
        ("images", stored),
        ("claims", stored),
    ] {
        let collection = database.collection::<Document>(name);
        let found = collection.count_documents(doc! {}).await;
        let found = found.expect("the catalog answers");
        if found != expected as u64 {
            problems.push(format!(
                "there are {found} documents of {name}, not {expected}"
            ));
        }
    }
    problems
}

/// Each stored candidate must have the document of its image, with the bytes that lie in the
/// object store.
async fn image_problems(job: &JobUnderTest, candidates: &[Candidate]) -> Vec<String> {
    let stored = candidates
        .iter()
        .filter(|candidate| candidate.state == CandidateState::Stored);
    let compared = stream::iter(stored)
        .map(|candidate| compare(job, candidate))
        .buffer_unordered(COMPARED);
    let problems = compared.filter_map(async |compared| compared.err());
    problems.collect().await
}

async fn compare(job: &JobUnderTest, candidate: &Candidate) -> Result<(), String> {
    let image = candidate.image.ok_or("a stored candidate has no image")?;
    let document = job
        .stores
        .catalog
        .image(&candidate.collection, &image)
        .await;
    let document = document.map_err(|error| format!("the document of {image}: {error}"))?;
    let document = document.ok_or_else(|| format!("{image} has no document"))?;
    if document.candidate != candidate.id {
        return Err(format!("the document of {image} names another candidate"));
    }
    let objects = &job.stores.objects;
    let raw = objects.get(&ObjectKey::raw(&image)).await;
    let raw = raw.map_err(|error| format!("the raw object: {error}"))?;
    if ImageId::of(&raw) != image {
        return Err(format!("the raw object of {image} has other bytes"));
    }
    let normalized = objects.get(&ObjectKey::normalized(&image)).await;
    let normalized = normalized.map_err(|error| format!("the normalized object: {error}"))?;
    if normalized != document.binary {
        return Err(format!("{image}'s document and object differ"));
    }
    Ok(())
}

/// Every object must belong to a candidate, a dataset or a model.
async fn object_problems(
    job: &JobUnderTest,
    expected: &Expected,
    candidates: &[Candidate],
) -> Vec<String> {
    let keys = job.stores.objects.list("", None, ALL).await;
    let keys = keys.expect("the object store answers");
    let files = expected.collection.entries.iter();
    let files = files.filter_map(|entry| entry.file.as_ref());
    let fetched: BTreeSet<String> = files.map(|file| ImageId::of(file).to_string()).collect();
    let images = candidates.iter().filter_map(|candidate| candidate.image);
    let known: BTreeSet<String> = images.map(|image| image.to_string()).collect();
    let dataset = expected.dataset.to_string();
    let runs = job.stores.catalog.runs(None, PAGE).await;
    let runs = runs.expect("the catalog answers").into_iter();
    let models: BTreeSet<String> = runs.map(|run| run.id.to_string()).collect();
    let belongs = |key: &ObjectKey| {
        let segments: Vec<&str> = key.as_str().split('/').collect();
        match segments[..] {
            ["raw", _, image] => fetched.contains(image),
            ["normalized", _, image] => known.contains(image.trim_end_matches(".jpg")),
            ["datasets", id, ..] => id == dataset,
            ["models", id, _] => models.contains(id),
            // A run's checkpoints are removed when it has ended.
            _ => false,
        }
    };
    let stray = keys.iter().filter(|key| !belongs(key));
    stray
        .map(|key| format!("the object {key} belongs to nothing"))
        .collect()
}
