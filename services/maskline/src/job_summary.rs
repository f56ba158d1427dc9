//! A job as text: its counts, the reasons for rejection and its training runs.

use std::collections::BTreeMap;

use comfy_table::{Cell, Table};
use maskline_foundation::{text::printable, time::unix_millis};
use maskline_storage::records::Pause;

use crate::{
    evaluation_view,
    job_view::{JobPhase, JobView},
    output::{number, percent, table},
    run_view::RunView,
};

/// Everything that is known about one job.
pub(crate) fn summary(job: &JobView) -> String {
    let mut text = format!(
        "job {} · collection {} · {} · {}\n",
        job.id,
        job.collection,
        job.source,
        job.state.name()
    );
    if let Some(error) = &job.error {
        text += &format!("error: {}\n", printable(error));
    }
    if let Some(pause) = &job.pause {
        text += &format!("{}\n", paused(pause));
    }
    let mut counts = table(&COUNTS);
    counts.add_row(count_cells(job));
    text += &format!("{counts}\n");
    if job.state == JobPhase::Expanding && job.counts.found == 0 && job.pause.is_none() {
        text += &format!(
            "It has found nothing yet, and {collection} is not frozen before it has ended. A source \
             that can't\nbe reached is tried again for some minutes: the services' log names the \
             job then, and says why.\nIf the log of services that run does not name it, whoever \
             enqueued it was stopped before they were told:\n\
             `maskline remove {collection} --source {id}`, and enqueue it again.\n",
            collection = job.collection,
            id = job.id
        );
    }
    text += &rest(job, job.counts.rejected_by_reason.clone());
    text.trim_end().to_owned()
}

/// Everything that is known about jobs that were enqueued together: their counts, and what has
/// become of them in the end.
pub(crate) fn of_several(jobs: &[JobView]) -> String {
    let mut text = format!("{}\n", overview(jobs));
    for job in jobs {
        if let Some(error) = &job.error {
            text += &format!("error of job {}: {}\n", job.id, printable(error));
        }
    }
    if let Some(last) = jobs.last() {
        text += &rest(last, rejected(jobs));
    }
    text.trim_end().to_owned()
}

/// How many candidates of these jobs were rejected, by the code of the reason.
pub(crate) fn rejected(jobs: &[JobView]) -> BTreeMap<String, u64> {
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    for (reason, count) in jobs.iter().flat_map(|job| &job.counts.rejected_by_reason) {
        *sum.entry(reason.clone()).or_default() += count;
    }
    sum
}

/// What comes after the counts: the reasons for rejection, the version and the runs.
fn rest(job: &JobView, rejected: BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    if !rejected.is_empty() {
        text += &format!("{}\n", reasons(rejected));
    }
    if let (Some(version), Some(dataset)) = (&job.version, &job.dataset) {
        text += &format!("version {version} · dataset {dataset}\n");
    }
    for remark in &job.remarks {
        text += &format!("{remark}\n");
    }
    text += &training(&job.runs);
    if let Some(trace) = &job.trace_id {
        text += &format!("trace {trace}\n");
    }
    text
}

/// Training runs as text: a table of them, and how good their networks are. It is empty if there
/// are none.
pub(crate) fn training(of: &[RunView]) -> String {
    let mut text = String::new();
    if !of.is_empty() {
        text += &format!("{}\n", runs(of));
    }
    let evaluated = of.iter().filter_map(|run| {
        let evaluation = run.evaluation.as_ref()?;
        Some((run.network.to_string(), evaluation))
    });
    let evaluated: Vec<_> = evaluated.collect();
    if !evaluated.is_empty() {
        text += &format!("{}\n", evaluation_view::text(&evaluated));
    }
    text
}

/// How long a job waits, and for what.
pub(crate) fn paused(pause: &Pause) -> String {
    let seconds = pause.until.saturating_sub(unix_millis()).div_ceil(1_000);
    let time = match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3_600)),
    };
    format!("goes on in {time}: {}", printable(&pause.reason))
}

/// The headings of a job's counts.
const COUNTS: [&str; 5] = ["found", "stored", "rejected", "failed", "in flight"];

/// The cells below those headings.
fn count_cells(job: &JobView) -> [Cell; 5] {
    let counts = &job.counts;
    [
        counts.found,
        counts.stored,
        counts.rejected,
        counts.failed,
        counts.in_flight,
    ]
    .map(number)
}

/// A table with a line for each job.
pub(crate) fn overview(jobs: &[JobView]) -> Table {
    let mut table = table(&[&["job", "collection", "source", "state"], &COUNTS[..]].concat());
    for job in jobs {
        let about = [
            job.id.to_string(),
            job.collection.to_string(),
            job.source.clone(),
            match &job.pause {
                Some(pause) => format!("{}, {}", job.state.name(), paused(pause)),
                None => job.state.name().to_owned(),
            },
        ];
        table.add_row(about.map(Cell::new).into_iter().chain(count_cells(job)));
    }
    table
}

/// Why images were rejected, the most frequent reason first.
fn reasons(rejected: BTreeMap<String, u64>) -> Table {
    let mut reasons: Vec<_> = rejected.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut table = table(&["rejected for", "images"]);
    for (code, count) in reasons {
        table.add_row([Cell::new(code), number(count)]);
    }
    table
}

fn runs(runs: &[RunView]) -> Table {
    let mut table = table(&[
        "run",
        "network",
        "state",
        "epoch",
        "test accuracy",
        "accuracy",
        "loss",
        "device",
    ]);
    for run in runs {
        let mut state = run.state.to_string();
        if let Some(error) = &run.error {
            state += &format!(": {}", printable(error));
        }
        table.add_row([
            Cell::new(run.id),
            Cell::new(run.network),
            Cell::new(state),
            number(format!("{}/{}", run.epoch, run.epochs)),
            number(percent(evaluation_view::test_accuracy(
                run.evaluation.as_ref(),
            ))),
            number(percent(run.accuracy)),
            number(
                run.loss
                    .map_or_else(|| "-".to_owned(), |loss| format!("{loss:.3}")),
            ),
            Cell::new(run.device.as_deref().unwrap_or("-")),
        ]);
    }
    table
}
