//! A trial of a study, with what came of it so far.

use std::fmt;

use maskline_messages::{RunId, TrainingSettings};
use serde::Serialize;

use super::study::{Study, StudyState, TrialOutcome, TrialResult};

/// A trial, as reports and commands show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// The number of the trial, from 0 on.
    pub trial: u32,
    /// Its run. Only that of the best trial is published.
    pub run: RunId,
    pub settings: TrainingSettings,
    /// How good it was after each rung that it has done.
    pub rungs: Vec<RungScore>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How good a trial is on the validation split after a rung.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RungScore {
    /// The epochs that it has trained in all.
    pub epochs: u32,
    pub accuracy: f32,
    pub loss: f32,
}

impl Study {
    /// The trials with their results, which are sorted by rung.
    pub fn trials_with(&self, results: &[TrialResult]) -> Vec<Trial> {
        let trial = |(trial, settings): (u32, &TrainingSettings)| {
            let mut rungs = vec![];
            let mut error = None;
            for TrialResult { of, outcome } in results {
                if of.trial != trial {
                    continue;
                }
                match outcome {
                    &TrialOutcome::Scored { accuracy, loss } => rungs.push(RungScore {
                        epochs: self.rungs.get(of.rung as usize).copied().unwrap_or(0),
                        accuracy,
                        loss,
                    }),
                    TrialOutcome::Failed { error: why } => error = Some(why.clone()),
                }
            }
            Trial {
                trial,
                run: RunId::of_trial(self.id, trial),
                settings: settings.clone(),
                rungs,
                error,
            }
        };
        (0..).zip(&self.trials).map(trial).collect()
    }
}

impl Trial {
    /// What became of it in its study.
    pub fn end(&self, study: &Study) -> TrialEnd {
        let epochs = self.rungs.last().map_or(0, |rung| rung.epochs);
        match study.state {
            _ if self.error.is_some() => TrialEnd::Failed,
            _ if study.best == Some(self.trial) => TrialEnd::Best,
            _ if study.rungs.last() == Some(&epochs) => TrialEnd::Done,
            StudyState::Open => TrialEnd::Open,
            StudyState::Done | StudyState::Failed => TrialEnd::Stopped { epochs },
        }
    }
}

/// What became of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialEnd {
    /// It is the best of its study.
    Best,
    /// It was trained to its end.
    Done,
    /// Others were better after so many epochs.
    Stopped {
        epochs: u32,
    },
    Failed,
    /// It may still go on.
    Open,
}

impl fmt::Display for TrialEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Done => f.write_str("done"),
            Self::Stopped { epochs: 1 } => f.write_str("stopped after 1 epoch"),
            Self::Stopped { epochs } => write!(f, "stopped after {epochs} epochs"),
            Self::Failed => f.write_str("failed"),
            Self::Open => f.write_str("open"),
        }
    }
}

#[cfg(test)]
mod tests {
    use maskline_messages::{DatasetId, NetworkName, StudyId, TuningSearch};

    use super::*;
    use crate::records::TrialRung;

    #[test]
    fn a_trial_has_its_own_results_and_says_where_it_ended() {
        let id = StudyId(uuid::Uuid::from_u128(7));
        let study = Study {
            id,
            dataset: DatasetId::of(b"a dataset"),
            network: NetworkName::MobilenetV2,
            search: TuningSearch::Asha,
            trials: vec![TrainingSettings::default(); 5],
            rungs: vec![1, 3],
            state: StudyState::Done,
            error: None,
            best: Some(1),
            traceparent: None,
            created: 0,
        };
        let of = |trial, rung| TrialRung {
            study: id,
            trial,
            rung,
        };
        let scored = |trial, rung, accuracy| TrialResult {
            of: of(trial, rung),
            outcome: TrialOutcome::Scored {
                accuracy,
                loss: 0.5,
            },
        };
        let error = "no number".to_owned();
        let failed = TrialResult {
            of: of(2, 0),
            outcome: TrialOutcome::Failed {
                error: error.clone(),
            },
        };
        let results = [
            scored(0, 0, 0.5),
            scored(1, 0, 0.75),
            failed,
            scored(3, 0, 0.625),
            scored(1, 1, 0.875),
            scored(3, 1, 0.75),
        ];
        let trials = study.trials_with(&results);
        let ends = |study: &Study| -> Vec<String> {
            let ends = trials.iter().map(|trial| trial.end(study).to_string());
            ends.collect()
        };
        let stopped = "stopped after 1 epoch";
        let after_none = "stopped after 0 epochs";
        assert_eq!(
            ends(&study),
            [stopped, "best", "failed", "done", after_none]
        );
        let open = Study {
            state: StudyState::Open,
            best: None,
            ..study
        };
        assert_eq!(ends(&open), ["open", "done", "failed", "done", "open"]);
        assert_eq!(trials[1].rungs.len(), 2);
        let last = RungScore {
            epochs: 3,
            accuracy: 0.875,
            loss: 0.5,
        };
        assert_eq!(trials[1].rungs[1], last);
        assert_eq!(trials[2].error, Some(error));
        assert_eq!(trials[3].run, RunId::of_trial(id, 3));
    }
}
