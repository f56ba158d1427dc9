//! Bodies that no service can handle, on each queue.

use std::collections::BTreeMap;

use maskline_messages::{
    DatasetId, JobId, Message, Queue, SCHEMA, SourceExpanded, TrainingChoices, TrainingRequested,
};
use maskline_test_support::{environment::Environment, publish};
use serde_json::{Value, json};

use super::{
    checks::check_and_remove,
    job_under_test::{JobUnderTest, until},
    replicas::{Replicas, TWO_OF_EACH},
    trial::Trial,
};

/// A body that must be dead-lettered.
struct Poison {
    what: &'static str,
    body: Vec<u8>,
    /// A part of the error that the dead letter must have.
    error: String,
}

fn poisons(queue: Queue) -> [Poison; 4] {
    let later = json!({ "schema": SCHEMA + 1, "type": "image_found" });
    let unknown = json!({ "schema": SCHEMA, "type": "image_dreamt" });
    [
        Poison {
            what: "no JSON",
            body: publish::UNREADABLE.to_vec(),
            error: "can't be read".to_owned(),
        },
        Poison {
            what: "another schema",
            body: later.to_string().into(),
            error: format!("speaks schema {}", SCHEMA + 1),
        },
        Poison {
            what: "an unknown type",
            body: unknown.to_string().into(),
            error: "can't be read".to_owned(),
        },
        Poison {
            what: "another queue's message",
            body: misdirected(queue).to_json(),
            error: "does not carry".to_owned(),
        },
    ]
}

/// A sound message of another queue.
fn misdirected(queue: Queue) -> Message {
    if queue == Queue::TrainerRequests {
        let (job, found) = (JobId::draw(), 0);
        return SourceExpanded { job, found }.into();
    }
    TrainingRequested {
        dataset: DatasetId::of(b"none"),
        networks: vec![],
        settings: TrainingChoices::default(),
    }
    .into()
}

/// Each body must become a dead letter with its error and its trace, and the job must end as
/// if they were not there.
pub async fn on_each_queue(trial: &mut Trial) {
    for _ in 0..trial.amount.faults {
        let environment = Environment::servers().await;
        let replicas = Replicas::start(&environment, &TWO_OF_EACH).await;
        let job = JobUnderTest::enqueue(trial, environment, replicas).await;
        let mut sent = BTreeMap::new();
        for queue in Queue::ALL {
            for Poison { what, body, error } in poisons(queue) {
                let trace = publish::raw_in_new_trace(&*job.broker, queue, body).await;
                trial.record_fault(format_args!("{what} to {queue}"));
                sent.insert(trace, (queue, error));
            }
        }
        let all_there = until(async || dead_letters(&job).await.len() >= sent.len()).await;
        if !all_there {
            trial.record_problem("some bodies do not become dead letters");
        }
        until(async || job.is_over().await && job.is_quiet().await).await;
        for dead_letter in dead_letters(&job).await {
            if let Err(problem) = check_dead_letter(&dead_letter, &mut sent) {
                trial.record_problem(format_args!("{problem}: {dead_letter}"));
            }
        }
        for (trace, (queue, _)) in sent {
            trial.record_problem(format_args!("the body sent to {queue} in {trace} is lost"));
        }
        let drop_all = ["dead-letters", "drop", "--all"];
        job.environment.maskline(&drop_all).await;
        check_and_remove(job, trial).await;
    }
}

async fn dead_letters(job: &JobUnderTest) -> Vec<Value> {
    job.environment.json(&["dead-letters", "list"]).await
}

/// Finds the body that the dead letter has, compares the two, and removes it from `sent`.
fn check_dead_letter(
    dead_letter: &Value,
    sent: &mut BTreeMap<String, (Queue, String)>,
) -> Result<(), String> {
    let traceparent = dead_letter["trace"].as_str().ok_or("it has no trace")?;
    let trace = traceparent.split('-').nth(1).unwrap_or_default();
    let (queue, error) = sent.remove(trace).ok_or("nobody sent it")?;
    if dead_letter["queue"] != queue.name() {
        return Err(format!("it was sent to {queue}"));
    }
    if dead_letter["kind"] != "poison" {
        return Err("its kind is not poison".to_owned());
    }
    let found = dead_letter["error"].as_str().unwrap_or_default();
    match found.contains(&error) {
        true => Ok(()),
        false => Err(format!("its error does not contain {error:?}")),
    }
}
