//! How long `maskline status` takes for a job with many candidates.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use maskline_messages::{CandidateId, Hop, JobId, Location, Reason};
use maskline_storage::{
    Catalog,
    records::{CandidateOutcome, NewCandidate, OutcomeKind},
};
use mongodb::bson::doc;

use super::Report;
use crate::{collection::class, place::Place};

/// Candidates of a job that are in flight: as many as a queue of RabbitMQ holds.
const IN_FLIGHT: u64 = 100_000;
/// Candidates that are recorded together, as the scraper does.
const STEP: u64 = 1_000;
/// Candidates that end at the same time.
const ENDING: usize = 64;
/// So often is the command run.
const RUNS: usize = 21;
const MOST: Duration = Duration::from_millis(200);

pub async fn run(report: &mut Report, count: u64) {
    for place in [Place::embedded(), Place::servers().await] {
        let catalog = place.stores().await.catalog;
        let list = "http://127.0.0.1:9/list.csv";
        let job = place
            .enqueue(&["urls", list, "--label-from", "column"])
            .await;
        let kind = match place.database().await {
            Some(_) => "MongoDB",
            None => "SQLite",
        };
        let in_flight = IN_FLIGHT.min(count / 10);
        fill(report, kind, &catalog, job, count, count - in_flight).await;
        ask(
            report,
            &format!("{kind}, {in_flight} in flight"),
            &place,
            job,
        )
        .await;
        end(&catalog, job, count - in_flight..count).await;
        ask(report, &format!("{kind}, all ended"), &place, job).await;
        if let Some(database) = place.database().await {
            let pages = database.collection::<mongodb::bson::Document>("ledger");
            let all = pages.count_documents(doc! {}).await.expect("it counts");
            let open = pages.count_documents(doc! { "open": true }).await;
            report.say(format_args!(
                "{kind}: {all} pages in the ledger, {} open",
                open.expect("it counts")
            ));
            let find = doc! { "find": "ledger", "filter": { "job": job.to_string() } };
            match database.run_command(doc! { "explain": find }).await {
                Ok(plan) => report.say(format_args!("{kind}: {plan}")),
                Err(error) => report.say(format_args!("{kind} explains no plan: {}", error.kind)),
            }
        }
        place.remove().await;
    }
}

/// Records `count` candidates, of which `ended` end soon after.
async fn fill(
    report: &Report,
    kind: &str,
    catalog: &Arc<dyn Catalog>,
    job: JobId,
    count: u64,
    ended: u64,
) {
    let began = Instant::now();
    for first in (0..count).step_by(STEP as usize) {
        let numbers = first..count.min(first + STEP);
        let candidates: Vec<_> = numbers.map(|number| candidate(job, number)).collect();
        let added = catalog.add_candidates(&candidates).await;
        added.expect("they are recorded");
        end(catalog, job, first..ended.min(first + STEP)).await;
        if first.is_multiple_of(100 * STEP) {
            report.say(format_args!("{kind}: {first} of {count} recorded"));
        }
    }
    report.say(format_args!(
        "{kind}: {count} candidates recorded in {:.0} s",
        began.elapsed().as_secs_f64()
    ));
}

async fn end(catalog: &Arc<dyn Catalog>, job: JobId, numbers: std::ops::Range<u64>) {
    let ending = stream::iter(numbers).for_each_concurrent(ENDING, async |number| {
        let outcome = ending(candidate(job, number).id, number);
        let ended = catalog.finish_candidate(&outcome).await;
        ended.expect("it was recorded");
    });
    ending.await;
}

async fn ask(report: &mut Report, kind: &str, place: &Place, job: JobId) {
    let id = job.to_string();
    let mut took = vec![];
    let mut last = None;
    for _ in 0..RUNS {
        let began = Instant::now();
        last = place.json(&["status", &id]).await.pop();
        took.push(began.elapsed());
    }
    took.sort();
    let (median, most) = (took[RUNS / 2], took[RUNS - 1]);
    report.say(format_args!("{kind}: {}", last.unwrap_or_default()));
    report.must(
        median <= MOST,
        format_args!("{kind}: `maskline status` answers in {median:.0?}, at most {most:.0?}"),
    );
}

fn candidate(job: JobId, number: u64) -> NewCandidate {
    let class = class(number.is_multiple_of(2));
    let url = format!("http://127.0.0.1:9/{class}/{number}");
    let location = Location::Url(url.parse().expect("a URL"));
    NewCandidate {
        id: CandidateId::of(job, &location),
        job,
        location,
        label: Some(class.parse().expect("a label")),
    }
}

/// One of ten is rejected.
fn ending(candidate: CandidateId, number: u64) -> CandidateOutcome {
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
        history: vec![Hop::now("storer")],
        trace_id: None,
        kind,
    }
}
