//! Tuning: a study trains a network several times, each time with other settings, to find the
//! best of them. The words are those of Optuna: a study has trials.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};

use crate::{
    choices::TrainingChoices,
    ids::{DatasetId, StudyId},
    invalid::UnknownName,
    network::NetworkName,
    settings::InvalidSetting,
};

/// How a study decides which trials are trained to their end.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(
    serialize_all = "snake_case",
    parse_err_ty = UnknownName,
    parse_err_fn = unknown_search
)]
pub enum TuningSearch {
    /// All of them are.
    Random,
    /// After a ninth and after a third of the epochs only the better third goes on: ASHA of Li et
    /// al., "A System for Massively Parallel Hyperparameter Tuning" (2018).
    Asha,
}

fn unknown_search(text: &str) -> UnknownName {
    UnknownName::new::<TuningSearch>(text, "a search")
}

/// `maskline tune` asks the trainers for a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuningRequested {
    pub dataset: DatasetId,
    /// A linear probe has no settings to tune, so this is a network.
    pub network: NetworkName,
    /// The number of trials.
    pub trials: u32,
    pub search: TuningSearch,
    /// The settings that somebody chose, which are those of every trial. Its seed is that of the
    /// study, too.
    pub settings: TrainingChoices,
}

impl TuningRequested {
    /// The most trials that a study can have.
    pub const MAX_TRIALS: u32 = 1_000;

    /// Checks that the trials can be trained.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        if !(1..=Self::MAX_TRIALS).contains(&self.trials) {
            return Err(InvalidSetting {
                setting: "the number of trials",
                value: self.trials.to_string(),
                wanted: "1 to 1000",
            });
        }
        self.settings.validate(&[self.network.into()])
    }
}

impl StudyId {
    /// The id of the study that is asked for.
    pub fn of(request: &TuningRequested) -> Self {
        let canonical = serde_json::to_vec(request).expect("names and plain numbers");
        Self::derived(&canonical)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RunId;

    fn request() -> TuningRequested {
        TuningRequested {
            dataset: DatasetId::of(b"a dataset"),
            network: NetworkName::MobilenetV3Small,
            trials: 16,
            search: TuningSearch::Asha,
            settings: TrainingChoices::default(),
        }
    }

    #[test]
    fn the_same_request_is_the_same_study_and_another_is_not() {
        type Change = fn(&mut TuningRequested);
        let id = StudyId::of(&request());
        assert_eq!(id, StudyId::of(&request()));
        let changes: [Change; 6] = [
            |r| r.dataset = DatasetId::of(b"another"),
            |r| r.network = NetworkName::MobilenetV2,
            |r| r.trials = 17,
            |r| r.search = TuningSearch::Random,
            |r| r.settings.seed = 7,
            |r| r.settings.epochs = Some(30),
        ];
        for change in changes {
            let mut other = request();
            change(&mut other);
            assert_ne!(id, StudyId::of(&other), "{other:?}");
        }
    }

    #[test]
    fn the_runs_of_trials_are_not_those_of_anybody_else() {
        let request = request();
        let usual = request.settings.settings(request.network.into());
        let ordinary = RunId::of(&request.dataset, request.network, &usual);
        let study = StudyId::of(&request);
        assert_ne!(RunId::of_trial(study, 0), ordinary);
        assert_ne!(RunId::of_trial(study, 0), RunId::of_trial(study, 1));
        assert_eq!(RunId::of_trial(study, 1), RunId::of_trial(study, 1));
    }

    #[test]
    fn what_can_not_be_tuned_is_refused() {
        request().validate().unwrap();
        for trials in [0, 1_001] {
            let refused = TuningRequested {
                trials,
                ..request()
            };
            let refused = refused.validate().unwrap_err().to_string();
            assert_eq!(
                refused,
                format!("the number of trials can't be {trials}: give 1 to 1000")
            );
        }
        let mut refused = request();
        refused.settings.batch = Some(0);
        assert_eq!(refused.validate().unwrap_err().setting, "batch");
        let refused = "bayes".parse::<TuningSearch>().unwrap_err().to_string();
        assert_eq!(refused, "\"bayes\" is not a search (random, asha)");
    }
}
