//! Which trials go on to the next rung: ASHA of Li et al., "A System for Massively Parallel
//! Hyperparameter Tuning" (2018).
//!
//! In the paper, what is promoted depends on who comes first. Here it depends on the results
//! alone. The participants of a rung have an order: in the first rung that of their numbers, and in
//! a later one that in which they were promoted. As soon as the first *n* participants have all
//! reported, the best third of these *n* is promoted, for each *n*. So whoever computes the
//! promotions from some of the results gets a beginning of what all results give: a promotion is
//! never taken back, and the number of trainers and the order in which they end change nothing.
//!
//! The first trial, which has the usual settings, goes on in any case. Otherwise one that learns
//! slowly at first could be stopped, and then tuning could give less than training.

use std::cmp::Ordering;

use maskline_messages::TuningSearch;
use maskline_models::prediction::Score;

/// One of so many participants of a rung is promoted.
const REDUCTION: u32 = 3;

/// The trial that has the usual settings.
const USUAL: u32 = 0;

/// How many rungs the search has at most.
const MAX_RUNGS: u32 = 3;

/// After how many epochs in all each rung ends: a ninth, a third and all of the epochs.
pub(super) fn rungs(search: TuningSearch, epochs: u32) -> Vec<u32> {
    let count = match search {
        TuningSearch::Random => 1,
        TuningSearch::Asha => MAX_RUNGS,
    };
    let shares = (0..count).rev().map(|rung| REDUCTION.pow(rung));
    let mut rungs: Vec<u32> = shares.map(|share| epochs.div_ceil(share).max(1)).collect();
    rungs.dedup();
    rungs
}

/// What came of a rung of a trial. `None` if it failed.
pub(super) type Outcome = Option<Score>;

/// Where all trials of a study are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing {
    /// The trials that came to each rung, in the order in which they did.
    pub(super) participants: Vec<Vec<u32>>,
    /// Whether all participants of all rungs have reported, so that nothing more comes.
    pub(super) complete: bool,
    /// The best trial of those that have done the last rung.
    pub(super) best: Option<u32>,
}

impl Standing {
    /// Computes where the trials are. `outcome` returns what came of a rung (the first argument) of
    /// a trial, or `None` if it has not reported.
    pub(super) fn of(
        trials: u32,
        rungs: usize,
        outcome: impl Fn(u32, u32) -> Option<Outcome>,
    ) -> Self {
        let mut participants: Vec<Vec<u32>> = vec![(0..trials).collect()];
        let mut complete = true;
        let mut ranked = vec![];
        for (rung, is_last) in (0..).zip((1..=rungs).map(|count| count == rungs)) {
            let here = participants.last().map_or(&[][..], Vec::as_slice);
            let mut promoted: Vec<u32> = vec![];
            ranked = vec![];
            let mut reported = 0;
            for (count, &trial) in (1_usize..).zip(here) {
                let Some(result) = outcome(rung, trial) else {
                    break;
                };
                reported = count;
                // One that failed is behind all others, and nothing of it can go on.
                if let Some(score) = result {
                    insert(&mut ranked, Ranked { trial, score });
                    if trial == USUAL {
                        promoted.push(trial);
                    }
                }
                let places = count / REDUCTION as usize;
                for one in ranked.iter().take(places) {
                    if !promoted.contains(&one.trial) {
                        promoted.push(one.trial);
                    }
                }
            }
            complete = complete && reported == here.len();
            if is_last {
                break;
            }
            if complete {
                // A third of one or two is none, but the best of them goes on. Those that were
                // promoted may all fail later, and then the best of the others goes on, so that
                // somebody comes to the last rung. Nothing else is promoted here any more, so this
                // changes no order.
                if let Some(best) = ranked.first()
                    && !promoted.contains(&best.trial)
                {
                    promoted.push(best.trial);
                }
                let failed = |&trial: &u32| outcome(rung + 1, trial) == Some(None);
                while promoted.iter().all(failed)
                    && let Some(next) = ranked.iter().find(|one| !promoted.contains(&one.trial))
                {
                    promoted.push(next.trial);
                }
            }
            participants.push(promoted);
        }
        Self {
            participants,
            complete,
            best: ranked.first().map(|one| one.trial),
        }
    }
}

/// A trial that has done a rung.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    trial: u32,
    score: Score,
}

/// Inserts one into a ranking, in which the best is the first. The lower number is the first of
/// equals.
fn insert(ranked: &mut Vec<Ranked>, one: Ranked) {
    let place = ranked.partition_point(|other| compare(other, &one) == Ordering::Less);
    ranked.insert(place, one);
}

fn compare(one: &Ranked, other: &Ranked) -> Ordering {
    let accuracy = other.score.accuracy.total_cmp(&one.score.accuracy);
    let loss = one.score.loss.total_cmp(&other.score.loss);
    accuracy.then(loss).then(one.trial.cmp(&other.trial))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NONE: [u32; 0] = [];

    /// The results by rung and trial.
    type Results = BTreeMap<(u32, u32), Outcome>;

    fn score(accuracy: f32) -> Outcome {
        Some(Score {
            accuracy,
            loss: 1.0 - accuracy,
        })
    }

    fn standing(trials: u32, rungs: usize, results: &Results) -> Standing {
        Standing::of(trials, rungs, |rung, trial| {
            results.get(&(rung, trial)).copied()
        })
    }

    /// What is to be trained next: participants that have not reported.
    fn due(standing: &Standing, results: &Results) -> Vec<(u32, u32)> {
        let rungs = (0..).zip(&standing.participants);
        let all = rungs.flat_map(|(rung, trials)| trials.iter().map(move |&trial| (rung, trial)));
        all.filter(|of| !results.contains_key(of)).collect()
    }

    /// Trains until nothing is left. `pick` chooses what ends next of all that is due. Returns
    /// every standing on the way.
    fn run(
        trials: u32,
        rungs: usize,
        result: impl Fn(u32, u32) -> Outcome,
        mut pick: impl FnMut(usize) -> usize,
    ) -> (Results, Vec<Standing>) {
        let mut results = Results::new();
        let mut standings = vec![standing(trials, rungs, &results)];
        loop {
            let due = due(&standings[standings.len() - 1], &results);
            if due.is_empty() {
                return (results, standings);
            }
            let (rung, trial) = due[pick(due.len())];
            results.insert((rung, trial), result(rung, trial));
            standings.push(standing(trials, rungs, &results));
        }
    }

    #[test]
    fn rungs_end_after_a_ninth_a_third_and_all_of_the_epochs() {
        let asha = |epochs| rungs(TuningSearch::Asha, epochs);
        assert_eq!(asha(30), [4, 10, 30]);
        assert_eq!(asha(9), [1, 3, 9]);
        assert_eq!(asha(4), [1, 2, 4]);
        assert_eq!(asha(2), [1, 2]);
        assert_eq!(asha(1), [1]);
        assert_eq!(rungs(TuningSearch::Random, 30), [30]);
    }

    #[test]
    fn the_best_third_of_each_beginning_is_promoted() {
        let accuracies = [0.5, 0.7, 0.6, 0.9, 0.1, 0.8, 0.7];
        let mut results = Results::new();
        let mut report = |trial: usize| {
            let of = u32::try_from(trial).expect("it is small");
            results.insert((0, of), score(accuracies[trial]));
            standing(7, 3, &results).participants[1].clone()
        };
        assert_eq!(report(3), NONE, "the first has not reported");
        assert_eq!(report(0), [0], "the usual one goes on");
        assert_eq!(report(2), [0], "the first two have not all reported");
        let both = "1 is the best of the first three, and 3 of the first four";
        assert_eq!(report(1), [0, 1, 3], "{both}");
        assert_eq!(report(5), [0, 1, 3]);
        // The best two of the first six are 3 and 5, but 1 was promoted before.
        assert_eq!(report(4), [0, 1, 3, 5]);
        assert_eq!(report(6), [0, 1, 3, 5]);
    }

    #[test]
    fn of_equals_the_lower_loss_and_then_the_lower_number_is_better() {
        let same = |loss| {
            Some(Score {
                accuracy: 0.5,
                loss,
            })
        };
        let of = |losses: [f32; 3]| {
            let result = |_, trial: u32| same(losses[trial as usize]);
            let (_, standings) = run(3, 1, result, |_| 0);
            standings[standings.len() - 1].best
        };
        assert_eq!(of([0.7, 0.6, 0.6]), Some(1));
        assert_eq!(of([0.6, 0.6, 0.6]), Some(0));
    }

    #[test]
    fn of_few_trials_the_best_comes_to_the_last_rung() {
        for trials in 1..=2 {
            let last = trials - 1;
            let result = |_, trial| score(if trial == last { 0.9 } else { 0.5 });
            let (_, standings) = run(trials, 3, result, |_| 0);
            let end = &standings[standings.len() - 1];
            let all: Vec<u32> = (0..trials).collect();
            assert_eq!(end.participants[1..], [all.clone(), all]);
            assert!(end.complete);
            assert_eq!(end.best, Some(last));
        }
    }

    #[test]
    fn one_that_fails_is_not_promoted_and_the_next_takes_its_place_at_the_end() {
        // 0 fails at once. 3 is the best, and fails in the second rung. 2 is the next.
        let result = |rung, trial| match (rung, trial) {
            (0, 0) | (1, 3) => None,
            _ => score([0.0, 0.2, 0.3, 0.4][trial as usize]),
        };
        let (_, standings) = run(4, 2, result, |_| 0);
        let end = &standings[standings.len() - 1];
        assert_eq!(end.participants[1], [2, 3], "of the first three and of all");
        assert_eq!(end.best, Some(2));
        // All that were promoted fail in the second rung.
        let result = |rung, trial| match (rung, trial) {
            (1, 0 | 1) => None,
            _ => score([0.1, 0.4, 0.2][trial as usize]),
        };
        let (_, standings) = run(3, 2, result, |_| 0);
        let end = &standings[standings.len() - 1];
        assert_eq!(end.participants[1], [0, 1, 2]);
        assert_eq!((end.complete, end.best), (true, Some(2)));
    }

    #[test]
    fn a_study_of_which_all_trials_fail_ends_without_a_best_one() {
        let (results, standings) = run(5, 3, |_, _| None, |_| 0);
        let end = &standings[standings.len() - 1];
        assert_eq!((end.complete, end.best), (true, None));
        assert_eq!(results.len(), 5);
    }

    proptest! {
        /// Whatever comes first, the same trials are promoted in the same order, and no promotion
        /// is ever taken back.
        #[test]
        fn the_order_in_which_trials_end_changes_nothing(
            trials in 1..40_u32,
            rungs in 1..4_usize,
            accuracies in proptest::collection::vec(proptest::option::weighted(0.8, 0..6_u8), 160),
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 160),
        ) {
            let result = |rung: u32, trial: u32| {
                let accuracy = accuracies[(rung * 40 + trial) as usize];
                accuracy.and_then(|accuracy| score(f32::from(accuracy) / 8.0))
            };
            let (results, in_order) = run(trials, rungs, result, |_| 0);
            let mut picks = picks.iter().cycle();
            let mut pick = |due| picks.next().expect("it is endless").index(due);
            let (shuffled, on_the_way) = run(trials, rungs, result, &mut pick);
            prop_assert_eq!(&results, &shuffled);
            prop_assert_eq!(in_order.last(), on_the_way.last());
            let end = &on_the_way[on_the_way.len() - 1];
            prop_assert!(end.complete);
            for before in &on_the_way {
                for (early, late) in before.participants.iter().zip(&end.participants) {
                    prop_assert!(late.starts_with(early), "{early:?} {late:?}");
                }
            }
            let some_did_all = (0..trials)
                .any(|trial| (0..).take(rungs).all(|rung| result(rung, trial).is_some()));
            if rungs == 1 {
                prop_assert_eq!(end.best.is_some(), some_did_all);
            }
        }

        /// Whoever knows only some of the results promotes a beginning of what all results promote.
        #[test]
        fn some_of_the_results_give_a_beginning_of_the_promotions(
            trials in 1..40_u32,
            accuracies in proptest::collection::vec(proptest::option::weighted(0.8, 0..6_u8), 160),
            known in proptest::collection::vec(any::<bool>(), 160),
        ) {
            let result = |rung: u32, trial: u32| {
                let accuracy = accuracies[(rung * 40 + trial) as usize];
                accuracy.and_then(|accuracy| score(f32::from(accuracy) / 8.0))
            };
            let (all, standings) = run(trials, 3, result, |_| 0);
            let end = &standings[standings.len() - 1];
            let is_known = |(rung, trial): &(u32, u32)| known[(rung * 40 + trial) as usize];
            let some: Results = all.into_iter().filter(|(of, _)| is_known(of)).collect();
            let partial = standing(trials, 3, &some);
            for (early, late) in partial.participants.iter().zip(&end.participants) {
                prop_assert!(late.starts_with(early), "{early:?} {late:?}");
            }
        }
    }
}
