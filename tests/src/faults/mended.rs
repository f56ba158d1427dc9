//! Messages that are given up because something outside is wrong, and replayed when it
//! is mended.
//!
//! What a trainer takes can't be given up for a reason that could be mended: it only
//! records runs.

use maskline_messages::{ImageId, ObjectKey, Queue};
use mongodb::bson::{Document, doc};

use super::{
    Trial,
    crew::{Crew, FIVE_TWICE},
    round::{Round, until},
    truth::Truth,
    verdict::depths,
};
use crate::{
    collection::End,
    place::Place,
    site::{LIST, Manners, Site},
};

/// Images of which something is wrong, at each step.
const SPOILT: usize = 3;

/// So that messages are given up soon.
fn impatient() -> Vec<(String, String)> {
    vec![("MASKLINE_RETRY_ATTEMPTS".to_owned(), "2".to_owned())]
}

pub async fn replayed(trial: &mut Trial) {
    for _ in 0..trial.dose.faults {
        a_list_that_is_not_served(trial).await;
        one_stage_after_another(trial).await;
    }
}

/// The job fails, because its source can't be expanded, and does not when it can.
async fn a_list_that_is_not_served(trial: &mut Trial) {
    let place = Place::servers().await;
    let mut crew = Crew::start(&place, &FIVE_TWICE[1..5]).await;
    crew.join(&place, "scraper", impatient()).await;
    let truth = Truth::of(trial).await;
    let site = Site::serve(&truth.collection, Manners::default()).await;
    site.set_busy([LIST.to_owned()]);
    let round = Round::begin_on(truth, site, place, crew, &[]).await;
    given_up(trial, &round, Queue::ScraperSources, 1).await;
    let failed = until(async || round.is_over().await).await;
    if !failed {
        trial.problem("a job whose source was given up has not failed");
    }
    round.site.set_busy([]);
    replay(&round, &[]).await;
    until(async || round.is_quiet().await).await;
    round.end(trial).await;
}

/// Each service begins when the one before it has done all that it could. The end of
/// the expansion is replayed last: a job is frozen when nothing is in flight, and what
/// was given up is not.
async fn one_stage_after_another(trial: &mut Trial) {
    let place = Place::servers().await;
    let nobody = Crew { members: vec![] };
    let mut round = Round::begin(trial, place, nobody).await;
    let stored = round.truth.collection.entries.iter();
    let stored = stored.filter(|entry| entry.end == End::Stored);
    let paths = stored.clone().take(SPOILT).map(|entry| entry.path.clone());
    let paths: Vec<String> = paths.collect();
    let files = stored.skip(SPOILT).filter_map(|entry| entry.file.as_ref());
    let images: Vec<ImageId> = files.map(|file| ImageId::of(file)).collect();

    round.site.set_busy(paths);
    begins(&mut round, "scraper").await;
    given_up(trial, &round, Queue::ScraperCandidates, SPOILT).await;
    round.site.set_busy([]);
    replay(&round, &[]).await;
    done(&round).await;

    let raw = take_away(&round, images[..SPOILT].iter().map(ObjectKey::raw)).await;
    begins(&mut round, "validator").await;
    given_up(trial, &round, Queue::ValidatorImages, SPOILT).await;
    put_back(&round, raw).await;
    replay(&round, &[]).await;
    done(&round).await;

    let job = hide_job(&round).await;
    let waiting = waiting(&round, Queue::LabelerImages).await;
    begins(&mut round, "labeler").await;
    given_up(trial, &round, Queue::LabelerImages, waiting).await;
    show_job(&round, job).await;
    replay(&round, &[]).await;
    done(&round).await;

    let job = hide_job(&round).await;
    let normalized = images[SPOILT..2 * SPOILT].iter().map(ObjectKey::normalized);
    let normalized = take_away(&round, normalized).await;
    begins(&mut round, "storer").await;
    given_up(trial, &round, Queue::StorerImages, SPOILT).await;
    given_up(trial, &round, Queue::StorerJobs, 1).await;
    show_job(&round, job).await;
    put_back(&round, normalized).await;
    replay(&round, &letters_of(&round, Queue::StorerImages).await).await;
    done(&round).await;
    replay(&round, &[]).await;
    begins(&mut round, "trainer").await;
    round.end(trial).await;
}

async fn begins(round: &mut Round, service: &'static str) {
    round.crew.join(&round.place, service, impatient()).await;
}

/// Waits until so many messages of the queue are given up, and sees that each says why
/// and in which trace.
async fn given_up(trial: &mut Trial, round: &Round, queue: Queue, expected: usize) {
    let given_up = async || letters_of(round, queue).await.len() >= expected;
    if !until(given_up).await {
        trial.problem(format_args!("{queue}: its messages are not given up"));
    }
    let list = ["dead-letters", "list", "--limit", "100000"];
    let letters = round.place.json(&list).await;
    let of_queue = letters
        .iter()
        .filter(|letter| letter["queue"] == queue.name());
    for letter in of_queue.clone() {
        if letter["error"].as_str().is_none_or(str::is_empty) || letter["trace"].is_null() {
            trial.problem(format_args!(
                "a letter without its error or trace: {letter}"
            ));
        }
    }
    let error = of_queue
        .clone()
        .next()
        .map(|letter| letter["error"].clone());
    trial.struck(format_args!(
        "{} of {queue} given up: {}",
        of_queue.count(),
        error.unwrap_or_default()
    ));
}

async fn letters_of(round: &Round, queue: Queue) -> Vec<String> {
    let letters = round.broker.dead_letters(usize::MAX >> 1).await;
    let letters = letters.expect("the broker answers").into_iter();
    let of_queue = letters.filter(|letter| letter.queue == queue.name());
    of_queue.map(|letter| letter.id.0).collect()
}

/// Of these ids, or all.
async fn replay(round: &Round, ids: &[String]) {
    let which: Vec<&str> = match ids {
        [] => vec!["--all"],
        ids => ids.iter().map(String::as_str).collect(),
    };
    let args = [&["dead-letters", "replay"], &which[..]].concat();
    round.place.maskline(&args).await;
}

async fn waiting(round: &Round, queue: Queue) -> usize {
    let depths = depths(&*round.broker).await;
    usize::try_from(depths[queue.name()].ready).expect("a small collection")
}

/// Waits until the services that are there have nothing to do any more.
async fn done(round: &Round) {
    let services = round.crew.members.iter().map(|member| member.service);
    let services: Vec<&str> = services.collect();
    let idle = async || {
        let depths = depths(&*round.broker).await;
        let mut theirs = depths
            .iter()
            .filter(|(queue, _)| services.iter().any(|service| queue.starts_with(service)));
        let in_hand = round.crew.in_hand().await;
        theirs.all(|(_, depth)| depth.ready + depth.delayed == 0) && in_hand == 0.0
    };
    assert!(until(idle).await, "the services do not come to rest");
}

type Taken = Vec<(ObjectKey, bytes::Bytes)>;

async fn take_away(round: &Round, keys: impl Iterator<Item = ObjectKey>) -> Taken {
    let objects = &round.stores.objects;
    let mut taken = vec![];
    for key in keys {
        let bytes = objects.get(&key).await.expect("it was put there");
        objects.delete(&key).await.expect("it can be removed");
        taken.push((key, bytes));
    }
    taken
}

async fn put_back(round: &Round, taken: Taken) {
    for (key, bytes) in taken {
        let put = round.stores.objects.put(&key, bytes).await;
        put.expect("the object store takes it");
    }
}

/// As if the services were led to another catalog.
async fn hide_job(round: &Round) -> Document {
    let hidden = jobs(round).await;
    let hidden = hidden.find_one_and_delete(doc! { "_id": round.job.to_string() });
    let hidden = hidden.await.expect("the catalog answers");
    hidden.expect("it was enqueued")
}

async fn show_job(round: &Round, job: Document) {
    let shown = jobs(round).await.insert_one(job).await;
    shown.expect("the catalog takes it");
}

async fn jobs(round: &Round) -> mongodb::Collection<Document> {
    let database = round.place.database().await;
    database.expect("it is in MongoDB").collection("jobs")
}
