//! How long `maskline status` and `maskline collections` take for many candidates of several jobs.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use maskline_messages::{CandidateId, CollectionName, Hop, JobId, Location, Provenance, Reason};
use maskline_storage::{
    Catalog,
    records::{CandidateOutcome, NewCandidate, OutcomeKind},
};
use maskline_test_support::environment::Environment;
use mongodb::bson::doc;

use super::{report::Report, sources};
use crate::collection::class;

/// How many candidates of a job are in flight. A queue of RabbitMQ holds as many messages.
const IN_FLIGHT: u64 = 100_000;
/// How many candidates are recorded at once, as by the scraper.
const BATCH: u64 = 1_000;
/// How many candidates end at the same time.
const CONCURRENCY: usize = 64;
/// How often the command is run.
const RUNS: usize = 21;
/// The limit of the median time.
const TIME_LIMIT: Duration = Duration::from_millis(200);

pub async fn run(report: &mut Report, count: u64) {
    for environment in [Environment::embedded(), Environment::servers().await] {
        let catalog = environment.stores().await.catalog;
        let list = "http://127.0.0.1:9/list.csv";
        let mut jobs = vec![];
        for numbers in sources::parts(count) {
            let job = ["urls", list, "--label-from", "column", "--no-freeze"];
            jobs.push((environment.enqueue(&job).await, numbers));
        }
        let kind = match environment.database().await {
            Some(_) => "MongoDB",
            None => "SQLite",
        };
        let in_flight = IN_FLIGHT.min(count / 10);
        let ended = count - in_flight;
        for (job, numbers) in &jobs {
            fill(report, kind, &catalog, *job, numbers.clone(), ended).await;
        }
        let job = jobs[jobs.len() - 1].0.to_string();
        let commands = [&["status", &job], &["status"][..], &["collections"]];
        let state = format!("{kind}, {in_flight} in flight");
        for command in commands {
            measure(report, &state, &environment, command).await;
        }
        for (job, numbers) in &jobs {
            finish(&catalog, *job, numbers.start.max(ended)..numbers.end).await;
        }
        let state = format!("{kind}, all ended");
        for command in commands {
            measure(report, &state, &environment, command).await;
        }
        if let Some(database) = environment.database().await {
            let pages = database.collection::<mongodb::bson::Document>("ledger");
            let all = pages.count_documents(doc! {}).await.expect("it counts");
            let open = pages.count_documents(doc! { "open": true }).await;
            report.log(format_args!(
                "{kind}: {all} pages in the ledger, {} open",
                open.expect("it counts")
            ));
            let find = doc! { "find": "ledger", "filter": { "job": job } };
            match database.run_command(doc! { "explain": find }).await {
                Ok(plan) => report.log(format_args!("{kind}: {plan}")),
                Err(error) => report.log(format_args!("{kind} explains no plan: {}", error.kind)),
            }
        }
        environment.remove().await;
    }
}

/// Records the candidates of a job, and ends those before `ended`.
async fn fill(
    report: &Report,
    kind: &str,
    catalog: &Arc<dyn Catalog>,
    job: JobId,
    numbers: Range<u64>,
    ended: u64,
) {
    let began = Instant::now();
    for first in numbers.clone().step_by(BATCH as usize) {
        let batch = first..numbers.end.min(first + BATCH);
        let candidates: Vec<_> = batch.clone().map(|number| candidate(job, number)).collect();
        let added = catalog.add_candidates(&candidates).await;
        added.expect("they are recorded");
        finish(catalog, job, first..ended.min(batch.end)).await;
    }
    report.log(format_args!(
        "{kind}: candidates {numbers:?} recorded in {:.0} s",
        began.elapsed().as_secs_f64()
    ));
}

async fn finish(catalog: &Arc<dyn Catalog>, job: JobId, numbers: Range<u64>) {
    let finishing = stream::iter(numbers).for_each_concurrent(CONCURRENCY, async |number| {
        let outcome = outcome(candidate(job, number).id, number);
        let finished = catalog.finish_candidate(&outcome).await;
        finished.expect("it was recorded");
    });
    finishing.await;
}

/// Runs the command again and again, and checks the median time.
async fn measure(report: &mut Report, state: &str, environment: &Environment, command: &[&str]) {
    let mut took = vec![];
    let mut last = None;
    for _ in 0..RUNS {
        let began = Instant::now();
        last = environment.json(command).await.pop();
        took.push(began.elapsed());
    }
    took.sort();
    let (median, slowest) = (took[RUNS / 2], took[RUNS - 1]);
    let command = command.join(" ");
    report.log(format_args!("{state}: {}", last.unwrap_or_default()));
    report.check(
        median <= TIME_LIMIT,
        format_args!(
            "{state}: `maskline {command}` answers in {median:.0?}, at most {slowest:.0?}"
        ),
    );
}

fn candidate(job: JobId, number: u64) -> NewCandidate {
    let class = class(number.is_multiple_of(2));
    let url = format!("http://127.0.0.1:9/{class}/{number}");
    let location = Location::Url(url.parse().expect("a URL"));
    NewCandidate {
        id: CandidateId::of(job, &location),
        collection: CollectionName::default(),
        job,
        location,
        label: Some(class.parse().expect("a label")),
        provenance: Provenance::default(),
    }
}

/// Rejects one of ten candidates and stores the others.
fn outcome(candidate: CandidateId, number: u64) -> CandidateOutcome {
    let kind = match number % 10 {
        0 => OutcomeKind::Rejected {
            stage: "scraper".to_owned(),
            reason: Reason::HttpStatus { status: 404 },
        },
        _ => OutcomeKind::Stored,
    };
    CandidateOutcome {
        candidate,
        image: None,
        fetched: None,
        history: vec![Hop::now("storer")],
        trace_id: None,
        kind,
    }
}
