//! A study as a person asks about it.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use comfy_table::{Cell, Table};
use maskline_foundation::text::{printable, printable_json};
use maskline_messages::{RunId, StudyId, tunable};
use maskline_storage::records::{RungScore, Study, StudyState, Trial};
use serde::Serialize;

use crate::{
    job_summary,
    output::{number, percent, table},
    run_view::{self, RunView},
};

/// A study that has ended, with the run that publishes its best trial.
pub(crate) struct EndedStudy {
    pub(crate) study: Study,
    pub(crate) trials: Vec<Trial>,
    /// `None` if no trial could be trained.
    pub(crate) run: Option<RunView>,
    /// Where the page of its report is.
    pub(crate) report: String,
}

/// A trial as a line of JSON.
#[derive(Serialize)]
struct TrialLine<'a> {
    #[serde(flatten)]
    trial: &'a Trial,
    /// In words.
    end: String,
}

/// A study as a line of JSON.
#[derive(Serialize)]
struct StudyLine<'a> {
    study: StudyId,
    network: &'a str,
    state: StudyState,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// The number of the best trial.
    best: Option<u32>,
    /// The id of its model.
    model: Option<RunId>,
    run: Option<&'a RunView>,
    report: &'a str,
}

impl EndedStudy {
    /// A line of JSON for each trial, and one for the study.
    pub(crate) fn lines(&self) -> Result<Vec<String>> {
        let Self {
            study,
            trials,
            run,
            report,
        } = self;
        let mut lines = vec![];
        for trial in trials {
            let end = trial.end(study).to_string();
            lines.push(printable_json(&serde_json::to_string(&TrialLine {
                trial,
                end,
            })?));
        }
        let line = serde_json::to_string(&StudyLine {
            study: study.id,
            network: study.network.as_str(),
            state: study.state,
            error: study.error.as_deref(),
            best: study.best,
            model: study.best_run(),
            run: run.as_ref(),
            report,
        })?;
        lines.push(printable_json(&line));
        Ok(lines)
    }

    /// Returns an error if there is no model.
    pub(crate) fn succeeded(&self) -> Result<()> {
        if let Some(error) = &self.study.error {
            bail!("study {} failed: {error}", self.study.id);
        }
        run_view::succeeded(self.run.as_slice())
    }
}

/// A study that has ended as text: its trials, its model and where the report is.
pub(crate) fn text(ended: &EndedStudy) -> String {
    let EndedStudy {
        study,
        trials,
        run,
        report,
    } = ended;
    let mut text = format!("{}\n", table_of(study, trials));
    for trial in trials {
        if let Some(error) = &trial.error {
            text += &format!("trial {} failed: {}\n", trial.trial, printable(error));
        }
    }
    if let Some(error) = &study.error {
        text += &format!("study {} failed: {}\n", study.id, printable(error));
    }
    if let (Some(run), Some(best)) = (run, study.best) {
        text += &format!("The best is trial {best}. Its model is {}\n", run.id);
        text += &job_summary::training(std::slice::from_ref(run));
    }
    text += &format!("The report of all trials: {report}");
    text
}

/// A table with a line for each trial: the settings that are not the same in all trials, and how
/// good it was after each rung.
fn table_of(study: &Study, trials: &[Trial]) -> Table {
    let varied = tunable::varied(&study.trials);
    let mut headings = vec!["trial".to_owned()];
    headings.extend(varied.iter().map(|tunable| tunable.title()));
    let after = |epochs| format!("accuracy after {}", counted(epochs));
    headings.extend(study.rungs.iter().map(|&epochs| after(epochs)));
    headings.push("end".to_owned());
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = table(&headings);
    for trial in trials {
        let mut cells = vec![number(trial.trial)];
        cells.extend(varied.iter().map(|of| number(of.text(&trial.settings))));
        cells.extend(study.rungs.iter().map(|&epochs| {
            let rung = trial.rungs.iter().find(|rung| rung.epochs == epochs);
            number(percent(rung.map(|rung| rung.accuracy)))
        }));
        cells.push(Cell::new(trial.end(study)));
        table.add_row(cells);
    }
    table
}

/// How far a study is, in words: how many trials have done each rung, and the best of them.
pub(crate) fn progress(study: &Study, trials: &[Trial]) -> String {
    let mut done: BTreeMap<u32, usize> = BTreeMap::new();
    for rung in trials.iter().flat_map(|trial| &trial.rungs) {
        *done.entry(rung.epochs).or_default() += 1;
    }
    let rungs = study.rungs.iter().map(|epochs| {
        let trials = done.get(epochs).copied().unwrap_or(0);
        format!("{trials} after {}", counted(*epochs))
    });
    let rungs: Vec<String> = rungs.collect();
    let failed = trials.iter().filter(|trial| trial.error.is_some()).count();
    let mut text = format!(
        "tuning {}: of {} trials {}",
        study.network,
        trials.len(),
        rungs.join(", ")
    );
    if failed > 0 {
        text += &format!(", {failed} failed");
    }
    let scores = trials.iter().filter_map(|trial| trial.rungs.last());
    let best = scores.reduce(
        |best: &RungScore, score| match score.accuracy > best.accuracy {
            true => score,
            false => best,
        },
    );
    if let Some(best) = best {
        text += &format!(", best accuracy so far {}", percent(Some(best.accuracy)));
    }
    text
}

fn counted(epochs: u32) -> String {
    match epochs {
        1 => "1 epoch".to_owned(),
        _ => format!("{epochs} epochs"),
    }
}

#[cfg(test)]
mod tests {
    use maskline_messages::{DatasetId, NetworkName, TrainingSettings, TuningSearch};

    use super::*;

    fn study() -> (Study, Vec<Trial>) {
        let settings = |learning_rate| TrainingSettings {
            learning_rate,
            ..TrainingSettings::default()
        };
        let study = Study {
            id: "018f3e5a-0000-7000-8000-000000000001".parse().unwrap(),
            dataset: DatasetId::of(b"a dataset"),
            network: NetworkName::MobilenetV2,
            search: TuningSearch::Asha,
            trials: vec![settings(0.002), settings(0.000_75), settings(0.5)],
            rungs: vec![1, 4],
            state: StudyState::Open,
            error: None,
            best: None,
            traceparent: None,
            created: 0,
        };
        let mut trials = study.trials_with(&[]);
        let score = |epochs, accuracy| RungScore {
            epochs,
            accuracy,
            loss: 0.5,
        };
        trials[0].rungs.push(score(1, 0.75));
        trials[1].rungs.extend([score(1, 0.8), score(4, 0.9)]);
        trials[2].error = Some("the loss is not a number".to_owned());
        (study, trials)
    }

    #[test]
    fn progress_says_how_many_trials_have_done_each_rung_and_which_is_best() {
        let (study, trials) = study();
        assert_eq!(
            progress(&study, &trials),
            "tuning mobilenet_v2: of 3 trials 2 after 1 epoch, 1 after 4 epochs, 1 failed, best \
             accuracy so far 90.0 %"
        );
        assert_eq!(
            progress(&study, &study.trials_with(&[])),
            "tuning mobilenet_v2: of 3 trials 0 after 1 epoch, 0 after 4 epochs"
        );
    }

    #[test]
    fn the_table_has_what_varies_and_where_each_trial_ended() {
        let (study, trials) = study();
        let done = Study {
            state: StudyState::Done,
            best: Some(1),
            ..study
        };
        let model = done.best_run();
        let ended = EndedStudy {
            study: done,
            trials,
            run: None,
            report: "report.html".to_owned(),
        };
        let text = text(&ended);
        for part in [
            "learning rate",
            "0.00075",
            "accuracy after 4 epochs",
            "90.0 %",
            "stopped after 1 epoch",
            "best",
            "trial 2 failed: the loss is not a number",
            "report.html",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(!text.contains("batch"), "it is that of all trials: {text}");
        ended.succeeded().unwrap();

        let lines = ended.lines().unwrap();
        let parsed: Vec<serde_json::Value> = lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(parsed.len(), 4);
        assert_eq!(parsed[1]["rungs"][1]["epochs"], 4);
        assert_eq!(parsed[1]["end"], "best");
        assert_eq!(parsed[3]["best"], 1);
        assert_eq!(parsed[3]["model"], model.unwrap().to_string());
    }

    #[test]
    fn a_study_without_a_model_is_an_error() {
        let (study, trials) = study();
        let ended = EndedStudy {
            study: Study {
                state: StudyState::Failed,
                error: Some("nothing is left".to_owned()),
                ..study
            },
            trials,
            run: None,
            report: String::new(),
        };
        let error = ended.succeeded().unwrap_err().to_string();
        assert!(error.contains("failed: nothing is left"), "{error}");
    }
}
