//! What no program can handle, on each queue.

use std::collections::BTreeMap;

use bytes::Bytes;
use maskline_messages::{
    DatasetId, JobId, Message, Queue, SCHEMA, SourceExpanded, TrainingRequested, TrainingSettings,
    topology,
};
use maskline_runtime::{Envelope, broker::Headers};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Trial,
    crew::{Crew, FIVE_TWICE},
    round::{Round, until},
};
use crate::place::Place;

/// What is no message, of each sort, with what its error must say.
fn sorts(queue: Queue) -> [(&'static str, Vec<u8>, &'static str); 4] {
    let later = json!({ "schema": SCHEMA + 1, "type": "image_found" });
    let unknown = json!({ "schema": SCHEMA, "type": "image_dreamt" });
    [
        ("no JSON", b"{ this is no message".to_vec(), "can't be read"),
        (
            "another schema",
            later.to_string().into(),
            "speaks schema 3",
        ),
        (
            "an unknown type",
            unknown.to_string().into(),
            "can't be read",
        ),
        (
            "another's message",
            anothers(queue).to_json(),
            "does not carry",
        ),
    ]
}

/// A sound message that the queue's service does not take.
fn anothers(queue: Queue) -> Message {
    if queue == Queue::TrainerRequests {
        let (job, found) = (JobId::draw(), 0);
        return SourceExpanded { job, found }.into();
    }
    TrainingRequested {
        dataset: DatasetId::of(b"none"),
        networks: vec![],
        settings: TrainingSettings::default(),
    }
    .into()
}

/// Each goes to the dead letters with its error and its trace, and the rest flows on.
pub async fn on_each_queue(trial: &mut Trial) {
    for _ in 0..trial.dose.faults {
        let place = Place::servers().await;
        let crew = Crew::start(&place, &FIVE_TWICE).await;
        let round = Round::begin(trial, place, crew).await;
        let mut sent = BTreeMap::new();
        for queue in Queue::ALL {
            for (sort, body, error) in sorts(queue) {
                let trace = publish(&round, queue, body).await;
                trial.struck(format_args!("{sort} to {queue}"));
                sent.insert(trace, (queue, error));
            }
        }
        let given_up = until(async || letters(&round).await.len() >= sent.len()).await;
        if !given_up {
            trial.problem("not all of it becomes dead letters");
        }
        until(async || round.is_over().await && round.is_quiet().await).await;
        for letter in letters(&round).await {
            if let Err(problem) = is_as_sent(&letter, &mut sent) {
                trial.problem(format_args!("{problem}: {letter}"));
            }
        }
        for (trace, (queue, _)) in sent {
            trial.problem(format_args!("what was sent to {queue} in {trace} is gone"));
        }
        let drop_all = ["dead-letters", "drop", "--all"];
        round.place.maskline(&drop_all).await;
        round.end(trial).await;
    }
}

/// Publishes it in a trace of its own, which is returned.
async fn publish(round: &Round, queue: Queue, body: Vec<u8>) -> String {
    let (trace, id) = (Uuid::new_v4().simple(), Uuid::new_v4().to_string());
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [
        (topology::headers::MESSAGE_ID.to_owned(), id),
        (topology::headers::TRACEPARENT.to_owned(), traceparent),
    ];
    let envelope = Envelope {
        key: queue.keys()[0].to_owned(),
        headers: Headers::from(headers),
        body: Bytes::from(body),
    };
    let published = round.broker.publish(envelope).await;
    published.expect("a broker takes every body");
    trace.to_string()
}

async fn letters(round: &Round) -> Vec<Value> {
    round.place.json(&["dead-letters", "list"]).await
}

/// Finds what the letter was, and takes it off the list.
fn is_as_sent(
    letter: &Value,
    sent: &mut BTreeMap<String, (Queue, &'static str)>,
) -> Result<(), String> {
    let traceparent = letter["trace"].as_str().ok_or("it has no trace")?;
    let trace = traceparent.split('-').nth(1).unwrap_or_default();
    let (queue, error) = sent.remove(trace).ok_or("nobody sent it")?;
    if letter["queue"] != queue.name() {
        return Err(format!("it was sent to {queue}"));
    }
    if letter["kind"] != "poison" {
        return Err("it is no poison".to_owned());
    }
    let says = letter["error"].as_str().unwrap_or_default();
    match says.contains(error) {
        true => Ok(()),
        false => Err(format!("its error does not say {error:?}")),
    }
}
