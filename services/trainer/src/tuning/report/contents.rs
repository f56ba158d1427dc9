//! What the report of a study says. As JSON it is the report for programs.

use maskline_messages::{
    DatasetId, NetworkName, RunId, StudyId, TrainingSettings, Tunable, TuningSearch, tunable,
};
use maskline_storage::records::{RungScore, Study, StudyState, Trial, TrialResult};
use serde::Serialize;

/// The version of the report as JSON.
const VERSION: u32 = 1;

/// Everything about a study that has ended. It is a function of the study and its results, so that
/// whoever ends the study writes the same report.
#[derive(Serialize)]
pub(in crate::tuning) struct StudyReport {
    version: u32,
    pub(super) study: StudyId,
    pub(super) dataset: DatasetId,
    pub(super) network: NetworkName,
    pub(super) search: TuningSearch,
    state: StudyState,
    pub(super) error: Option<String>,
    /// How many epochs a trial has trained at the end of each rung.
    pub(super) rungs: Vec<u32>,
    /// The number of the best trial.
    pub(super) best: Option<u32>,
    /// The id that the best trial's model has.
    pub(super) model: Option<RunId>,
    pub(super) trials: Vec<TrialReport>,
    /// The settings that are not the same in all trials.
    #[serde(skip)]
    pub(super) varied: Vec<&'static Tunable>,
}

/// A trial, and what became of it.
#[derive(Serialize)]
pub(super) struct TrialReport {
    #[serde(flatten)]
    pub(super) trial: Trial,
    /// In words.
    pub(super) end: String,
}

impl StudyReport {
    pub(in crate::tuning) fn new(study: &Study, results: &[TrialResult]) -> Self {
        let trials = study.trials_with(results).into_iter();
        let trials = trials.map(|trial| TrialReport {
            end: trial.end(study).to_string(),
            trial,
        });
        Self {
            version: VERSION,
            study: study.id,
            dataset: study.dataset,
            network: study.network,
            search: study.search,
            state: study.state,
            error: study.error.clone(),
            rungs: study.rungs.clone(),
            best: study.best,
            model: study.best_run(),
            trials: trials.collect(),
            varied: tunable::varied(&study.trials),
        }
    }

    /// The best trial.
    pub(super) fn best(&self) -> Option<&Trial> {
        let best = self.best?;
        let found = self.trials.iter().find(|of| of.trial.trial == best)?;
        Some(&found.trial)
    }

    /// The settings of the first trial, which are the usual ones.
    pub(super) fn usual(&self) -> Option<&TrainingSettings> {
        self.trials.first().map(|first| &first.trial.settings)
    }
}

impl TrialReport {
    /// How good it was after so many epochs, if it came so far.
    pub(super) fn after(&self, epochs: u32) -> Option<&RungScore> {
        self.trial.rungs.iter().find(|rung| rung.epochs == epochs)
    }
}
