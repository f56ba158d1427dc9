//! What finding faces costs the validator: its pictures per second with it and without.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use maskline_messages::Queue;
use maskline_test_support::environment::Environment;
use tokio::time::sleep;

use super::report::Report;
use crate::{family::processor_seconds, process::Process};

/// How often each way is measured. The two ways take turns, because machines are not always
/// equally fast.
const PAIRS: usize = 3;
/// The least share of its pictures per second that the validator keeps.
const KEPT: f64 = 0.8;
/// The pause between two readings of the queue.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How fast one validator was.
struct Speed {
    /// Pictures per second.
    rate: f64,
    /// The time of a processor, in milliseconds per picture.
    milliseconds: f64,
}

/// Validates the pictures of `folder`, which has a folder for each class.
pub async fn run(report: &mut Report, folder: &Path) {
    let (mut rates, mut milliseconds) = (vec![], vec![]);
    for _ in 0..PAIRS {
        let without = validate(folder, false).await;
        let with = validate(folder, true).await;
        rates.push(with.rate / without.rate);
        milliseconds.push(with.milliseconds - without.milliseconds);
        report.log(format_args!(
            "without faces {:.0} pictures/s and {:.2} ms of a processor for each; with them {:.0} \
             and {:.2} ms: {:.2} times the rate",
            without.rate,
            without.milliseconds,
            with.rate,
            with.milliseconds,
            with.rate / without.rate
        ));
    }
    let (rate, more) = (median(rates), median(milliseconds));
    report.check(
        rate >= KEPT,
        format_args!("{rate:.2} of its rate is left, {more:.2} ms more for each picture"),
    );
}

/// Has everything scraped first, so that only the validator works while it is measured.
async fn validate(folder: &Path, faces: bool) -> Speed {
    let environment = Environment::servers().await;
    let broker = environment.broker().await;
    let scraper = Process::start(&environment, "scraper").await;
    let folder = folder.display().to_string();
    let arguments = ["folder", &folder, "--label-from", "folder", "--no-freeze"];
    environment.enqueue(&arguments).await;
    let depth = async |queue: Queue| {
        let depths = broker.depths().await.expect("the depths");
        depths.get(queue.name()).copied().unwrap_or_default()
    };
    let mut pictures = 0;
    loop {
        sleep(Duration::from_secs(2)).await;
        let waiting = depth(Queue::ValidatorImages).await.ready;
        if waiting > 0 && waiting == pictures {
            break;
        }
        pictures = waiting;
    }
    let none = ("MASKLINE_NO_FACES".to_owned(), (!faces).to_string());
    let began = Instant::now();
    let validator = Process::start_with(&environment, "validator", &[none]).await;
    loop {
        sleep(POLL_INTERVAL).await;
        let left = depth(Queue::ValidatorImages).await;
        if left.ready + left.unsettled + left.delayed == 0 {
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let speed = Speed {
        rate: pictures as f64 / seconds,
        milliseconds: 1e3 * processor_seconds(validator.id()) / pictures as f64,
    };
    broker.close().await;
    drop((scraper, validator));
    environment.remove().await;
    speed
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
