//! Workers of the validator that hang hold up nothing but their images.

use std::{process::Command, thread::available_parallelism};

use maskline_test_support::{environment::Environment, wait::within};
use maskline_tests::{
    collection::{Collection, counts_of},
    family::{children, runs},
    process::{Pipeline, Process},
    site::{Behaviour, Site},
};

pub async fn a_validator_whose_workers_all_hang_answers_and_stops(environment: &mut Environment) {
    let others = Pipeline::start(environment, &["scraper", "labeler", "storer"]).await;
    hangs_and_stops(environment, "validator").await;
    others.stop().await;
}

pub async fn all_services_in_one_process_answer_and_stop_while_its_workers_hang(
    environment: &mut Environment,
) {
    hangs_and_stops(environment, "run").await;
}

/// Runs a job with `program`, whose workers stand still in the middle of it, and ends the job with
/// another process of the program.
async fn hangs_and_stops(environment: &mut Environment, program: &str) {
    let collection = Collection::faces(70_000, 40);
    let site = Site::serve(&collection, Behaviour::default()).await;
    let short = [("MASKLINE_GRACE".to_owned(), "1".to_owned())];
    let mut hanging = Process::start_with(environment, program, &short).await;
    let list = site.list();
    let job = environment
        .enqueue(&["urls", &list, "--label-from", "column"])
        .await;

    let stopped = within("every worker to hang", all_hang(&hanging)).await;
    for _ in 0..20 {
        let (status, _) = within("an answer", hanging.get("/healthz")).await;
        assert_eq!(status, 200);
    }
    let ended = within("the end", hanging.stop()).await;
    assert!(ended.success(), "{ended}");
    within("the workers' end", all_end(&stopped)).await;

    let another = Pipeline::start(environment, &[program]).await;
    let job = environment.ended(job).await;
    assert_eq!(job["state"], "frozen", "{job}");
    assert_eq!(counts_of(&job), collection.counts());
    let dead_letters = environment.json(&["dead-letters", "list"]).await;
    assert!(dead_letters.is_empty(), "{dead_letters:#?}");
    another.stop().await;
}

/// Stops every worker of a process as soon as it is there, until there is one for each core.
/// Returns their process ids.
async fn all_hang(process: &Process) -> Vec<u32> {
    let cores = available_parallelism().map_or(1, usize::from);
    let mut stopped = vec![];
    while stopped.len() < cores {
        for worker in children(process.id()) {
            if !stopped.contains(&worker) {
                let kill = Command::new("kill")
                    .args(["-STOP", &worker.to_string()])
                    .status();
                assert!(kill.expect("kill is everywhere").success());
                stopped.push(worker);
            }
        }
        tokio::task::yield_now().await;
    }
    stopped
}

async fn all_end(workers: &[u32]) {
    while workers.iter().any(|worker| runs(*worker)) {
        tokio::task::yield_now().await;
    }
}
