//! The trials of a study.

use maskline_messages::{StudyId, TrainingSettings, TuningRequested, tunable};
use maskline_storage::records::{Study, StudyState, now};
use rand::RngExt;

use super::promotion::rungs;
use crate::random::{Purpose, stream};

/// The study that somebody asks for. The first trial has the usual settings, so that tuning never
/// gives less than training. The others are drawn, each from the study's seed and its own number
/// alone, so that they are the same wherever they are drawn.
pub(crate) fn study(request: &TuningRequested, traceparent: Option<String>) -> Study {
    let trial = |number: u32| settings(request, number);
    let usual = request.settings.settings(request.network.into());
    Study {
        id: StudyId::of(request),
        dataset: request.dataset,
        network: request.network,
        search: request.search,
        trials: (0..request.trials).map(trial).collect(),
        rungs: rungs(request.search, usual.epochs),
        state: StudyState::Open,
        error: None,
        best: None,
        traceparent,
        created: now(),
    }
}

fn settings(request: &TuningRequested, number: u32) -> TrainingSettings {
    let TuningRequested {
        network, settings, ..
    } = request;
    if number == 0 {
        return settings.settings((*network).into());
    }
    let mut random = stream(settings.seed, Purpose::Tuning, 0, number as usize);
    tunable::drawn(settings, *network, || random.random())
}

#[cfg(test)]
mod tests {
    use maskline_messages::{DatasetId, NetworkName, TrainingChoices, TuningSearch};

    use super::*;

    fn request(trials: u32) -> TuningRequested {
        TuningRequested {
            dataset: DatasetId::of(b"a dataset"),
            network: NetworkName::MobilenetV3Small,
            trials,
            search: TuningSearch::Asha,
            settings: TrainingChoices {
                epochs: Some(9),
                batch: Some(8),
                ..TrainingChoices::default()
            },
        }
    }

    #[test]
    fn the_first_trial_is_the_usual_one_and_the_others_differ() {
        let request = request(5);
        let study = study(&request, None);
        assert_eq!(study.rungs, [1, 3, 9]);
        let usual = request.settings.settings(request.network.into());
        assert_eq!(study.trials[0], usual);
        for (number, settings) in study.trials.iter().enumerate().skip(1) {
            assert_eq!(settings.validate(), Ok(()));
            assert!(!study.trials[..number].contains(settings), "{settings:?}");
            // What somebody chose is that of every trial.
            let fixed = (settings.epochs, settings.batch, settings.seed);
            assert_eq!(fixed, (9, 8, usual.seed));
        }
    }

    #[test]
    fn a_trial_depends_on_the_seed_and_its_number_alone() {
        let few = study(&request(3), None).trials;
        assert_eq!(study(&request(7), None).trials[..3], few);
        let mut other = request(3);
        other.settings.seed = 7;
        let other = study(&other, None).trials;
        assert_ne!(other[1].learning_rate, few[1].learning_rate);
    }
}
