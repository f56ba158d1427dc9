//! A job as text: its counts, the reasons for rejection and its training runs.

use comfy_table::{Cell, Table};

use crate::{
    job_view::{JobPhase, JobView, RunView},
    output::{number, percent, table},
};

/// Everything that is known about one job.
pub(crate) fn summary(job: &JobView) -> String {
    let mut text = format!("job {} · {} · {}\n", job.id, job.source, job.state.name());
    if let Some(error) = &job.error {
        text += &format!("error: {error}\n");
    }
    let mut counts = table(&COUNTS);
    counts.add_row(count_cells(job));
    text += &format!("{counts}\n");
    if job.state == JobPhase::Expanding && job.counts.found == 0 {
        text += &format!(
            "It has found nothing yet, and {collection} is not frozen before it has ended. If \
             services run\nand it stays like this, whoever enqueued it was stopped before the \
             services were told:\n`maskline remove {collection} --source {id}`, and enqueue it \
             again.\n",
            collection = job.collection,
            id = job.id
        );
    }
    if !job.counts.rejected_by_reason.is_empty() {
        text += &format!("{}\n", reasons(job));
    }
    if let (Some(version), Some(dataset)) = (&job.version, &job.dataset) {
        text += &format!("version {version} · dataset {dataset}\n");
    }
    if !job.runs.is_empty() {
        text += &format!("{}\n", runs(&job.runs));
    }
    if let Some(trace) = &job.trace_id {
        text += &format!("trace {trace}\n");
    }
    text.trim_end().to_owned()
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
    let mut table = table(&[&["job", "source", "state"], &COUNTS[..]].concat());
    for job in jobs {
        let about = [
            job.id.to_string(),
            job.source.clone(),
            job.state.name().to_owned(),
        ];
        table.add_row(about.map(Cell::new).into_iter().chain(count_cells(job)));
    }
    table
}

/// Why images were rejected, the most frequent reason first.
fn reasons(job: &JobView) -> Table {
    let mut reasons: Vec<_> = job.counts.rejected_by_reason.iter().collect();
    reasons.sort_by_key(|(code, count)| (std::cmp::Reverse(**count), *code));
    let mut table = table(&["rejected for", "images"]);
    for (code, count) in reasons {
        table.add_row([Cell::new(code), number(count)]);
    }
    table
}

fn runs(runs: &[RunView]) -> Table {
    let mut table = table(&[
        "run", "network", "state", "epoch", "accuracy", "loss", "device",
    ]);
    for run in runs {
        let mut state = run.state.to_string();
        if let Some(error) = &run.error {
            state += &format!(": {error}");
        }
        table.add_row([
            Cell::new(run.id),
            Cell::new(run.network),
            Cell::new(state),
            number(format!("{}/{}", run.epoch, run.epochs)),
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
