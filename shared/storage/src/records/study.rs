//! A study: a network that is tuned in several trials.

use std::{fmt, str::FromStr};

use maskline_messages::{
    DatasetId, InvalidId, NetworkName, RunId, StudyId, TrainingSettings, TuningSearch,
};
use serde::{Deserialize, Serialize};
use strum::Display;

use super::run::{Run, RunState};

/// A study. Its trials are trained rung by rung, and what came of each rung is a [`TrialResult`].
/// What it consists of is recorded once. Only its state, its error and its best trial change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Study {
    pub id: StudyId,
    pub dataset: DatasetId,
    pub network: NetworkName,
    pub search: TuningSearch,
    /// The settings of each trial. The first trial has the usual ones.
    pub trials: Vec<TrainingSettings>,
    /// How many epochs a trial has trained when it has done a rung. The last number is all epochs.
    pub rungs: Vec<u32>,
    pub state: StudyState,
    /// Why it failed.
    pub error: Option<String>,
    /// The best trial, once the study is done. Its run is trained to its end and published.
    pub best: Option<u32>,
    /// The W3C traceparent of the trace in which it was asked for.
    pub traceparent: Option<String>,
    pub created: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum StudyState {
    /// Trials are trained, or wait for a trainer.
    Open,
    /// The best trial is known.
    Done,
    /// No trial could be trained to its end.
    Failed,
}

impl Study {
    /// The run of a trial, as one that nobody has begun. `None` if there is no such trial.
    pub fn run(&self, trial: u32) -> Option<Run> {
        let settings = self.trials.get(trial as usize)?;
        Some(Run {
            id: RunId::of_trial(self.id, trial),
            dataset: self.dataset,
            job: None,
            network: self.network.into(),
            settings: settings.clone(),
            state: RunState::Open,
            error: None,
            epoch: 0,
            accuracy: None,
            loss: None,
            evaluation: None,
            device: None,
            traceparent: self.traceparent.clone(),
            created: self.created,
        })
    }

    /// The numbers of the trials.
    pub fn indices(&self) -> impl Iterator<Item = u32> {
        (0..).take(self.trials.len())
    }

    /// The best trial's run, once the study is done.
    pub fn best_run(&self) -> Option<RunId> {
        self.best.map(|trial| RunId::of_trial(self.id, trial))
    }

    /// The study as it was before a trial of it failed.
    pub(crate) fn reopened(&self) -> Self {
        Self {
            state: StudyState::Open,
            error: None,
            best: None,
            ..self.clone()
        }
    }
}

/// A rung of a trial, which is a piece of work. As text it is `STUDY/TRIAL/RUNG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrialRung {
    pub study: StudyId,
    /// The number of the trial, from 0 on.
    pub trial: u32,
    /// The number of the rung, from 0 on.
    pub rung: u32,
}

impl fmt::Display for TrialRung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.study, self.trial, self.rung)
    }
}

impl FromStr for TrialRung {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            text: text.to_owned(),
            expected: "a rung of a trial (STUDY/TRIAL/RUNG)",
        };
        let parts: Vec<&str> = text.split('/').collect();
        let [study, trial, rung] = parts[..] else {
            return Err(invalid());
        };
        Ok(Self {
            study: study.parse()?,
            trial: trial.parse().map_err(|_| invalid())?,
            rung: rung.parse().map_err(|_| invalid())?,
        })
    }
}

impl TryFrom<String> for TrialRung {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<TrialRung> for String {
    fn from(rung: TrialRung) -> Self {
        rung.to_string()
    }
}

/// What came of a rung of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialResult {
    pub of: TrialRung,
    pub outcome: TrialOutcome,
}

/// How good a trial is after a rung.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutcome {
    /// On the validation split, after the last epoch of the rung.
    Scored { accuracy: f32, loss: f32 },
    /// It can't be trained, or its loss is not a number any more.
    Failed { error: String },
}

impl TrialOutcome {
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rung_of_a_trial_is_read_as_it_is_written_and_nothing_else_is() {
        let rung = TrialRung {
            study: StudyId(uuid::Uuid::from_u128(7)),
            trial: 12,
            rung: 2,
        };
        assert_eq!(rung.to_string().parse(), Ok(rung));
        let json = serde_json::to_string(&rung).unwrap();
        assert_eq!(serde_json::from_str::<TrialRung>(&json).unwrap(), rung);
        let study = rung.study;
        for text in [
            String::new(),
            study.to_string(),
            format!("{study}/1"),
            format!("{study}/1/-1"),
            format!("{study}/1/2/3"),
            "run/1/2".to_owned(),
        ] {
            assert!(text.parse::<TrialRung>().is_err(), "{text}");
        }
    }
}
