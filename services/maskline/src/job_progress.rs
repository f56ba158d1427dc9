//! How far a job, training runs or a study are, while a person waits for them.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    job_view::JobView,
    output::{note, percent},
    run_view::RunView,
};

/// How long a person waits without any progress before a hint says what may be the cause.
pub(crate) const HINT_AFTER: Duration = Duration::from_secs(10);

/// Shows the progress of one job, of training runs or of a study, on standard error: as a bar on a
/// terminal, and elsewhere as a line whenever it comes to something new.
pub(crate) struct JobProgress {
    bar: Option<ProgressBar>,
    /// The activity that the last line named.
    shown: String,
}

/// What is being done, and how much of it is done.
struct Activity {
    name: String,
    /// What is counted.
    things: &'static str,
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

    /// Shows how far a job is.
    pub(crate) fn show(&mut self, job: &JobView) {
        self.draw(Activity::of(job));
    }

    /// Shows how far training runs are.
    pub(crate) fn show_runs(&mut self, runs: &[RunView]) {
        if let Some(training) = Activity::of_runs(runs) {
            self.draw(training);
        }
    }

    /// Shows in words how far something is of which nobody knows how long it takes. `done` counts
    /// what is done of it.
    pub(crate) fn show_words(&mut self, words: String, done: usize) {
        if let Some(bar) = &self.bar {
            bar.set_style(style_of_words());
            bar.set_position(done as u64);
            bar.set_message(words);
        } else if self.shown != words {
            note(&words);
            self.shown = words;
        }
    }

    fn draw(&mut self, activity: Activity) {
        if let Some(bar) = &self.bar {
            bar.set_length(activity.total);
            bar.set_position(activity.done);
            bar.set_message(activity.name);
        } else if self.shown != activity.name {
            note(activity.sentence());
            self.shown = activity.name;
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

fn style_of_words() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").expect("the template is a valid constant")
}

impl Activity {
    fn of(job: &JobView) -> Self {
        if let Some(training) = Self::of_runs(&job.runs) {
            return training;
        }
        let name = match &job.pause {
            Some(pause) => pause.reason.clone(),
            None => job.state.name().to_owned(),
        };
        Self {
            name,
            things: "images",
            done: job.counts.found - job.counts.in_flight,
            total: job.counts.found,
        }
    }

    /// The first of the runs that is not at its end. `None` if there is none.
    fn of_runs(runs: &[RunView]) -> Option<Self> {
        let is_training = |run: &&RunView| run.epoch < run.epochs && run.error.is_none();
        let run = runs.iter().find(is_training)?;
        let accuracy = match run.accuracy {
            Some(_) => format!(", validation accuracy {}", percent(run.accuracy)),
            None => String::new(),
        };
        Some(Self {
            name: format!("training {}{accuracy}", run.network),
            things: "epochs",
            done: run.epoch.into(),
            total: run.epochs.into(),
        })
    }

    fn sentence(&self) -> String {
        let Self {
            name,
            things,
            done,
            total,
        } = self;
        match total {
            0 => format!("{name}: nothing is found yet"),
            _ => format!("{name}: {done} of {total} {things} done"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_sentences() {
        let activity = |name: &str, things, done, total| Activity {
            name: name.to_owned(),
            things,
            done,
            total,
        };
        let expanding = activity("expanding", "images", 0, 0);
        assert_eq!(expanding.sentence(), "expanding: nothing is found yet");
        let training = activity("training mnasnet1_0", "epochs", 0, 3);
        assert_eq!(
            training.sentence(),
            "training mnasnet1_0: 0 of 3 epochs done"
        );
    }
}
