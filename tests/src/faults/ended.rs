//! Services that are ended at any moment, by force or by asking.

use std::collections::BTreeMap;

use super::{
    Trial,
    crew::{Crew, FIVE_TWICE},
    round::Round,
};
use crate::{collector::Collector, place::Place};

/// Seconds between two faults: some meet a service that has just begun.
const PAUSE: std::ops::Range<f64> = 0.2..2.0;

/// Faults in one job, so that each job has some time without any.
const IN_A_JOB: u32 = 25;

/// `kill -9` of a random service at a random moment; another takes its place.
pub async fn by_kill(trial: &mut Trial) {
    while trial.goes_on(trial.dose.faults) {
        let place = Place::servers().await;
        let crew = Crew::start(&place, &FIVE_TWICE).await;
        let mut round = Round::begin(trial, place, crew).await;
        let most = trial.dose.faults.min(trial.faults() + IN_A_JOB);
        while trial.faults() < most {
            trial.moment(PAUSE).await;
            if round.is_over().await {
                break;
            }
            let index = trial.pick(FIVE_TWICE.len());
            let title = round.crew.members[index].title();
            round.crew.kill(&round.place, index).await;
            trial.struck(format_args!("kill -9 of {title}"));
        }
        round.end(trial).await;
    }
}

/// SIGTERM of a random service: it finishes what it has in hand and ends well, and
/// nothing that was begun is begun again.
///
/// How often a message was begun is told by the spans: each attempt has one, and a
/// service that stops sends its last.
pub async fn by_term(trial: &mut Trial) {
    while trial.goes_on(trial.dose.faults) {
        let collector = Collector::start().await;
        let mut place = Place::servers().await;
        place.trace_to(&collector);
        let crew = Crew::start(&place, &FIVE_TWICE).await;
        let mut round = Round::begin(trial, place, crew).await;
        let most = trial.dose.faults.min(trial.faults() + IN_A_JOB);
        while trial.faults() < most {
            trial.moment(PAUSE).await;
            if round.is_over().await {
                break;
            }
            let index = trial.pick(FIVE_TWICE.len());
            let title = round.crew.members[index].title();
            let replaced = round.crew.replace(&round.place, index).await;
            trial.struck(format_args!("SIGTERM of {title}"));
            if let Err(problem) = replaced {
                trial.problem(problem);
            }
        }
        let redelivered = round.place.redelivered().await;
        round.end(trial).await;
        begun_once(trial, &collector, redelivered);
    }
}

fn begun_once(trial: &mut Trial, collector: &Collector, redelivered: u64) {
    let mut begun: BTreeMap<String, u32> = BTreeMap::new();
    for span in collector.named("process ") {
        let message = span.attribute("messaging.message.id");
        let message = message.expect("every message has an id");
        *begun
            .entry(format!("{}: {message}", span.name))
            .or_default() += 1;
    }
    let again = begun.iter().filter(|(_, times)| **times > 1);
    let again: Vec<&String> = again.map(|(message, _)| message).collect();
    trial.say(format_args!(
        "{} messages begun, {} of them twice; RabbitMQ redelivered {redelivered}",
        begun.len(),
        again.len()
    ));
    if begun.is_empty() {
        trial.problem("no service sent its spans");
    }
    for message in again {
        trial.problem(format_args!("begun more than once: {message}"));
    }
}

/// No fault.
pub async fn by_itself(trial: &mut Trial) {
    let place = Place::servers().await;
    let crew = Crew::start(&place, &FIVE_TWICE).await;
    let round = Round::begin(trial, place, crew).await;
    trial.struck("nothing");
    round.end(trial).await;
}
