//! Whether a job ended as if it had never been disturbed, seen from outside: in the
//! catalog, the object store and the broker.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt, stream};
use maskline_messages::{DatasetId, ImageId, Location, ObjectKey};
use maskline_runtime::{Broker, BrokerError, broker::Depth};
use maskline_storage::records::{Candidate, CandidateState};
use mongodb::bson::{Document, doc};
use tokio::time::sleep;

use super::{round::Round, truth::Truth};
use crate::{
    collection::{End, Entry, books_of},
    dataset::Frozen,
    within,
};

/// Candidates and images that are asked for at a time.
const PAGE: usize = 1_000;
/// Images that are compared at a time.
const COMPARED: usize = 16;
/// The pause before a broker is asked once more.
const AGAIN: Duration = Duration::from_millis(200);
/// All of them: a collection is small enough.
const ALL: usize = usize::MAX >> 1;

/// Everything that is not as in the undisturbed run, in words.
pub async fn judge(round: &Round, truth: &Truth) -> Vec<String> {
    let candidates = candidates(round).await;
    let mut problems = books(round, truth).await;
    problems.extend(ends(&candidates, truth));
    problems.extend(dataset(round, truth).await);
    problems.extend(documents(round, &candidates).await);
    problems.extend(images(round, &candidates).await);
    problems.extend(objects(round, truth, &candidates).await);
    problems.extend(of_broker(&*round.broker).await);
    problems
}

/// Nothing is on its way, and nothing was given up.
pub async fn of_broker(broker: &dyn Broker) -> Vec<String> {
    let mut problems = vec![];
    for (queue, depth) in depths(broker).await {
        if depth != Default::default() {
            problems.push(format!("{queue} is not empty: {depth:?}"));
        }
    }
    let letters = patiently("dead letters", async || broker.dead_letters(ALL).await);
    for letter in letters.await {
        problems.push(format!(
            "a dead letter from {}, given up by {}: {}",
            letter.queue, letter.stage, letter.error
        ));
    }
    problems
}

/// What is in the queues: the more of two looks, since RabbitMQ calls a queue empty that
/// it can't count at once.
pub async fn depths(broker: &dyn Broker) -> BTreeMap<String, Depth> {
    let look = async || patiently("depths", async || broker.depths().await).await;
    let mut depths = look().await;
    for (queue, again) in look().await {
        let depth = depths.entry(queue).or_default();
        depth.ready = depth.ready.max(again.ready);
        depth.delayed = depth.delayed.max(again.delayed);
        depth.unsettled = depth.unsettled.max(again.unsettled);
    }
    depths
}

/// What the broker answers, asked again where its connection was lost.
async fn patiently<T>(what: &str, ask: impl AsyncFn() -> Result<T, BrokerError>) -> T {
    let answered = async {
        loop {
            match ask().await {
                Err(BrokerError::Unavailable { .. }) => sleep(AGAIN).await,
                answer => return answer.expect("the broker can be asked"),
            }
        }
    };
    within(what, answered).await
}

/// The books as a person sees them.
async fn books(round: &Round, truth: &Truth) -> Vec<String> {
    let status = ["status", &round.job.to_string()];
    let job = round.place.json(&status).await.remove(0);
    let mut problems = vec![];
    let (found, expected) = (books_of(&job), truth.collection.books());
    if found != expected {
        problems.push(format!("the books say {found}, not {expected}"));
    }
    if job["state"] != "frozen" && job["state"] != "done" {
        problems.push(format!("the job is {}: {}", job["state"], job["error"]));
    }
    let runs = job["runs"].as_array().expect("a list");
    for run in runs.iter().filter(|run| run["state"] != "done") {
        problems.push(format!("a run is not done: {run}"));
    }
    problems
}

/// By state: each is asked for by itself, so that one in two states would be there twice.
async fn candidates(round: &Round) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = vec![];
    for state in [
        CandidateState::InFlight,
        CandidateState::Stored,
        CandidateState::Rejected,
        CandidateState::Failed,
    ] {
        let mut after = None;
        loop {
            let catalog = &round.stores.catalog;
            let page = catalog.candidates_in(round.job, state, after, PAGE).await;
            let page = page.expect("the catalog answers");
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            all.extend(page);
        }
    }
    all
}

/// How a candidate ended, and how often: which of several copies is stored depends on
/// who comes first.
type Ends = BTreeMap<String, usize>;

/// Every candidate is in one end state, and in the one it must be in.
fn ends(candidates: &[Candidate], truth: &Truth) -> Vec<String> {
    let mut problems = vec![];
    let ids: BTreeSet<_> = candidates.iter().map(|candidate| candidate.id).collect();
    if ids.len() != candidates.len() {
        let twice = candidates.len() - ids.len();
        problems.push(format!("{twice} candidates are in several states"));
    }
    let by_path: BTreeMap<&str, &Entry> = truth
        .collection
        .entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry))
        .collect();
    let mut found: BTreeMap<String, Ends> = BTreeMap::new();
    for candidate in candidates {
        // What is on the site is told by its path; the rest are lines of the list.
        let entry = match &candidate.location {
            Location::Url(url) => by_path.get(url.path().trim_start_matches('/')),
            Location::Path(_) | Location::Line { .. } => None,
        };
        let like = entry.map_or("a line of the list".to_owned(), |entry| like(entry));
        let end = match (&candidate.state, &candidate.reason) {
            (CandidateState::Rejected, Some(reason)) => reason.code().to_owned(),
            (state, _) => state.as_str().to_owned(),
        };
        *found.entry(like).or_default().entry(end).or_default() += 1;
    }
    let mut expected: BTreeMap<String, Ends> = BTreeMap::new();
    let entries = truth.collection.entries.iter();
    let entries = entries.map(|entry| (like(entry), entry.end));
    let lines = truth.collection.lines.iter();
    let lines = lines.map(|(_, code)| ("a line of the list".to_owned(), End::Rejected(code)));
    for (like, end) in entries.chain(lines) {
        let end = match end {
            End::Stored => CandidateState::Stored.as_str(),
            End::Rejected(code) => code,
        };
        let ends = expected.entry(like).or_default();
        *ends.entry(end.to_owned()).or_default() += 1;
    }
    let likes: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    for like in likes {
        let (found, expected) = (found.get(like), expected.get(like));
        if found != expected {
            problems.push(format!("{like} ended as {found:?}, not {expected:?}"));
        }
    }
    problems
}

/// What the entries with the same bytes have in common.
fn like(entry: &Entry) -> String {
    match &entry.file {
        Some(file) => format!("image {}", ImageId::of(file)),
        None => entry.path.clone(),
    }
}

/// There is one dataset, the undisturbed run's, with every image that belongs in it.
async fn dataset(round: &Round, truth: &Truth) -> Vec<String> {
    let mut problems = vec![];
    let datasets = round.stores.catalog.datasets(PAGE).await;
    let datasets = datasets.expect("the catalog answers").into_iter();
    let recorded: Vec<DatasetId> = datasets.map(|dataset| dataset.id).collect();
    if recorded != [truth.dataset] {
        problems.push(format!(
            "the datasets are {recorded:?}, not {}",
            truth.dataset
        ));
    }
    let job = round.stores.catalog.job(round.job).await;
    let job = job.expect("the catalog answers").expect("it was enqueued");
    if job.dataset != Some(truth.dataset) {
        problems.push(format!("the job's dataset is {:?}", job.dataset));
    }
    if !recorded.contains(&truth.dataset) {
        return problems;
    }
    let frozen = Frozen::read(&round.place, truth.dataset).await;
    if frozen.labels() != truth.collection.dataset() {
        problems.push("the dataset's images and labels are others".to_owned());
    }
    for (one, other) in &truth.collection.near_duplicates {
        if frozen.split(one) != frozen.split(other) {
            problems.push(format!("{one} and {other} are on two sides of the split"));
        }
    }
    problems
}

/// There is one document of each, where the catalog's own can be counted.
async fn documents(round: &Round, candidates: &[Candidate]) -> Vec<String> {
    let Some(database) = round.place.database().await else {
        return vec![];
    };
    let is_stored = |candidate: &&Candidate| candidate.state == CandidateState::Stored;
    let stored = candidates.iter().filter(is_stored).count();
    let of_job = doc! { "job": round.job.to_string() };
    // The ids of images and claims begin with their job's.
    let begins_with_job = doc! { "_id": { "$regex": format!("^{}/", round.job) } };
    let mut problems = vec![];
    for (name, of_round, expected) in [
        ("candidates", of_job, candidates.len()),
        ("images", begins_with_job.clone(), stored),
        ("claims", begins_with_job, stored),
    ] {
        let collection = database.collection::<Document>(name);
        let found = collection.count_documents(of_round).await;
        let found = found.expect("the catalog answers");
        if found != expected as u64 {
            problems.push(format!("{found} {name} are documents, not {expected}"));
        }
    }
    problems
}

/// Each stored candidate has its image's document, and that has the bytes that lie in
/// the object store.
async fn images(round: &Round, candidates: &[Candidate]) -> Vec<String> {
    let stored = candidates
        .iter()
        .filter(|candidate| candidate.state == CandidateState::Stored);
    let compared = stream::iter(stored)
        .map(|candidate| compare(round, candidate))
        .buffer_unordered(COMPARED);
    let problems = compared.filter_map(async |compared| compared.err());
    problems.collect().await
}

async fn compare(round: &Round, candidate: &Candidate) -> Result<(), String> {
    let image = candidate.image.ok_or("a stored candidate has no image")?;
    let document = round.stores.catalog.image(round.job, &image).await;
    let document = document.map_err(|error| format!("the document of {image}: {error}"))?;
    let document = document.ok_or_else(|| format!("{image} has no document"))?;
    if document.candidate != candidate.id {
        return Err(format!("{image} stands for another candidate"));
    }
    let objects = &round.stores.objects;
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

/// Every object belongs to something that there is.
async fn objects(round: &Round, truth: &Truth, candidates: &[Candidate]) -> Vec<String> {
    let keys = round.stores.objects.list("", None, ALL).await;
    let keys = keys.expect("the object store answers");
    let files = truth.collection.entries.iter();
    let files = files.filter_map(|entry| entry.file.as_ref());
    let fetched: BTreeSet<String> = files.map(|file| ImageId::of(file).to_string()).collect();
    let images = candidates.iter().filter_map(|candidate| candidate.image);
    let known: BTreeSet<String> = images.map(|image| image.to_string()).collect();
    let dataset = truth.dataset.to_string();
    let runs = round.stores.catalog.runs(None, PAGE).await;
    let runs = runs.expect("the catalog answers").into_iter();
    let models: BTreeSet<String> = runs.map(|run| run.id.to_string()).collect();
    let belongs = |key: &ObjectKey| {
        let segments: Vec<&str> = key.as_str().split('/').collect();
        match segments[..] {
            ["raw", _, image] => fetched.contains(image),
            ["normalized", _, image] => known.contains(image.trim_end_matches(".jpg")),
            ["datasets", id, ..] => id == dataset,
            ["models", id, _] => models.contains(id),
            // Checkpoints are gone when a run has ended.
            _ => false,
        }
    };
    let stray = keys.iter().filter(|key| !belongs(key));
    stray
        .map(|key| format!("the object {key} belongs to nothing"))
        .collect()
}
