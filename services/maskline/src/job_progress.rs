//! How far one job is, while a person waits for it.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    job_view::{JobView, RunView},
    output::{note, percent},
};

/// Shows the progress of one job on standard error: as a bar on a terminal, and elsewhere as
/// a line whenever the job comes to something new.
pub(crate) struct JobProgress {
    bar: Option<ProgressBar>,
    /// The activity that the last line named.
    shown: String,
}

/// What a job is doing, and how much of it is done.
struct Activity {
    name: String,
    done: u64,
    total: u64,
}

impl JobProgress {
    /// Begins to draw.
    pub(crate) fn start() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0).with_style(style());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            bar,
            shown: String::new(),
        }
    }

    pub(crate) fn show(&mut self, job: &JobView) {
        let Activity { name, done, total } = Activity::of(job);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(name);
        } else if self.shown != name {
            note(format!("{name} ({done} of {total})"));
            self.shown = name;
        }
    }

    /// Prints a remark, which stays above the bar.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_bar} {pos}/{len} {msg}")
        .expect("the template is a valid constant")
}

impl Activity {
    fn of(job: &JobView) -> Self {
        let is_training = |run: &&RunView| run.epoch < run.epochs && run.error.is_none();
        if let Some(run) = job.runs.iter().find(is_training) {
            let accuracy = percent(run.accuracy);
            return Self {
                name: format!("epochs of {}, best accuracy {accuracy}", run.network),
                done: run.epoch.into(),
                total: run.epochs.into(),
            };
        }
        let state = match &job.pause {
            Some(pause) => pause.reason.clone(),
            None => job.state.name().to_owned(),
        };
        Self {
            name: format!("candidates ended, {state}"),
            done: job.counts.found - job.counts.in_flight,
            total: job.counts.found,
        }
    }
}
