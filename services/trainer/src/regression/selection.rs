//! The strength of the regularization, chosen by cross-validation.
//!
//! Images of a group look the same. They are in one fold together: else a probe would be
//! measured on images that it knows.

use std::collections::BTreeMap;

use maskline_models::prediction::{Prediction, Tally};

use super::logistic::{Coefficients, Rows, fit};

/// The strengths that are tried, the strongest first: each fit begins where the one before ended.
/// Clean labels want little, and wrong ones much.
const STRENGTHS: [f64; 12] = [
    3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5,
];

/// The share by which the loss has to fall for a weaker strength to be taken. Where there are many
/// images for each feature the loss falls for ever, and hardly.
const WORTHWHILE: f64 = 1e-3;

/// The strength where there are too few groups to choose by.
const WITHOUT_CHOICE: f64 = 0.1;

const MOST_FOLDS: usize = 5;

/// The probe with the strength that was chosen.
pub(crate) struct Chosen {
    pub(crate) coefficients: Coefficients,
    pub(crate) strength: f64,
    /// Whether it is the strongest or the weakest that is tried, so that one beyond it may be better.
    pub(crate) at_border: bool,
    /// 0 if there are too few groups.
    pub(crate) folds: usize,
    /// The accuracy and the mean loss out of fold.
    pub(crate) score: Option<(f64, f64)>,
    /// For each row its fold and the prediction of the probe that has not seen it. It is empty
    /// without folds.
    pub(crate) out_of_fold: Vec<(usize, Prediction)>,
}

/// Chooses the strength with the lowest mean loss out of fold, or a stronger one that is about as
/// good, and fits all rows with it. Each row has a group. Returns `None` if `is_stopped` becomes true.
pub(crate) fn choose<G: Ord + Copy>(
    rows: &Rows,
    groups: &[G],
    is_stopped: &dyn Fn() -> bool,
) -> Option<Chosen> {
    let all: Vec<usize> = (0..rows.len()).collect();
    let zero = || Coefficients::zero(rows.features(), rows.class_count());
    let (folds, fold_of) = folds(rows.classes(), groups);
    if folds < 2 {
        return Some(Chosen {
            coefficients: fit(rows, &all, WITHOUT_CHOICE, &zero()),
            strength: WITHOUT_CHOICE,
            at_border: false,
            folds: 0,
            score: None,
            out_of_fold: vec![],
        });
    }
    let parts: Vec<[Vec<usize>; 2]> = (0..folds)
        .map(|fold| {
            let (held_out, learned) = all.iter().partition(|&&row| fold_of[row] == fold);
            [learned, held_out]
        })
        .collect();
    let mut fitted = vec![zero(); folds];
    let mut lowest = f64::INFINITY;
    let mut best: Option<(f64, Tally, Vec<Option<Prediction>>)> = None;
    for strength in STRENGTHS {
        let mut predictions = vec![None; rows.len()];
        let mut tally = Tally::default();
        for (fitted, [learned, held_out]) in fitted.iter_mut().zip(&parts) {
            if is_stopped() {
                return None;
            }
            *fitted = fit(rows, learned, strength, fitted);
            for (&row, prediction) in held_out.iter().zip(fitted.predict(rows, held_out)) {
                tally.add(&prediction, rows.classes()[row]);
                predictions[row] = Some(prediction);
            }
        }
        // The loss falls and then rises. Weaker strengths would only take longer.
        let loss = tally.mean_loss();
        if best.is_some() && loss >= lowest {
            break;
        }
        lowest = loss;
        let is_worthwhile = |before: &Tally| loss < (1.0 - WORTHWHILE) * before.mean_loss();
        if best
            .as_ref()
            .is_none_or(|(_, before, _)| is_worthwhile(before))
        {
            best = Some((strength, tally, predictions));
        }
    }
    let (strength, tally, predictions) = best.expect("the first strength is the best so far");
    let out_of_fold = fold_of.into_iter().zip(predictions.into_iter().flatten());
    Some(Chosen {
        coefficients: fit(rows, &all, strength, &fitted[0]),
        strength,
        at_border: [STRENGTHS.first(), STRENGTHS.last()].contains(&Some(&strength)),
        folds,
        score: Some((tally.accuracy(), tally.mean_loss())),
        out_of_fold: out_of_fold.collect(),
    })
}

/// The number of folds, and the fold of each row. Every class is spread evenly, and a group is in
/// one fold. There are as many folds as the class with the fewest groups has, at most
/// [`MOST_FOLDS`], so that every fold leaves some of each class to learn from.
fn folds<G: Ord + Copy>(classes: &[usize], groups: &[G]) -> (usize, Vec<usize>) {
    // A group whose images are of several classes counts for that of its first.
    let mut by_group: BTreeMap<G, Vec<usize>> = BTreeMap::new();
    for (row, &group) in groups.iter().enumerate() {
        by_group.entry(group).or_default().push(row);
    }
    let mut groups_of: BTreeMap<usize, Vec<Vec<usize>>> = BTreeMap::new();
    for rows in by_group.into_values() {
        groups_of.entry(classes[rows[0]]).or_default().push(rows);
    }
    let fewest = groups_of.values().map(Vec::len).min().unwrap_or(0);
    let folds = fewest.min(MOST_FOLDS);
    let mut fold_of = vec![0; classes.len()];
    if folds < 2 {
        return (folds, fold_of);
    }
    for groups in groups_of.into_values() {
        let mut sizes = vec![0; folds];
        for rows in groups {
            let fold = (0..folds)
                .min_by_key(|&fold| sizes[fold])
                .expect("there are folds");
            sizes[fold] += rows.len();
            for row in rows {
                fold_of[row] = fold;
            }
        }
    }
    (folds, fold_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes that the first of two features tells apart, with every tenth label wrong.
    fn rows(count: usize) -> Rows {
        let mut rows = Rows::new(2, 2);
        for index in 0..count {
            let class = index % 2;
            let side = if class == 1 { 1.0 } else { -1.0 };
            let noise = ((index * 37) % 11) as f32 / 11.0 - 0.5;
            let label = if index % 10 == 9 { 1 - class } else { class };
            rows.push(&[side + noise, noise * 3.0], label);
        }
        rows.standardize();
        rows
    }

    #[test]
    fn groups_stay_together_and_classes_are_spread_evenly() {
        let classes: Vec<usize> = (0..60).map(|row| row % 2).collect();
        // Rows 0, 2 and 4 look the same, and so do 1, 3 and 5.
        let groups: Vec<usize> = (0..60)
            .map(|row| if row < 6 { row % 2 } else { row })
            .collect();
        let (folds, fold_of) = folds(&classes, &groups);
        assert_eq!(folds, 5);
        assert_eq!([fold_of[2], fold_of[4]], [fold_of[0]; 2]);
        assert_eq!([fold_of[3], fold_of[5]], [fold_of[1]; 2]);
        for fold in 0..folds {
            for class in 0..2 {
                let is_in = |&row: &usize| fold_of[row] == fold && classes[row] == class;
                assert_eq!((0..60).filter(is_in).count(), 6);
            }
        }
    }

    #[test]
    fn the_class_with_the_fewest_groups_decides_the_number_of_folds() {
        let fold_count = |groups: &[usize]| folds(&[0, 0, 0, 1, 1, 1], groups).0;
        assert_eq!(fold_count(&[0, 1, 2, 3, 4, 5]), 3);
        assert_eq!(fold_count(&[0, 1, 2, 3, 3, 4]), 2);
        assert_eq!(fold_count(&[0, 1, 2, 3, 3, 3]), 1);
    }

    #[test]
    fn wrong_labels_are_found_out_of_fold() {
        let rows = rows(200);
        let groups: Vec<usize> = (0..200).collect();
        let chosen = choose(&rows, &groups, &|| false).unwrap();
        assert_eq!(chosen.folds, 5);
        let (accuracy, loss) = chosen.score.unwrap();
        assert!((0.88..0.92).contains(&accuracy), "accuracy {accuracy}");
        assert!(loss < 0.5, "loss {loss}");
        let wrong: Vec<usize> = (0..200)
            .filter(|&row| chosen.out_of_fold[row].1.class() != rows.classes()[row])
            .collect();
        let expected: Vec<usize> = (0..200).filter(|row| row % 10 == 9).collect();
        assert_eq!(wrong, expected);
    }

    #[test]
    fn a_strength_at_the_border_is_told() {
        let groups: Vec<usize> = (0..200).collect();
        let chosen = choose(&rows(200), &groups, &|| false).unwrap();
        assert_eq!((chosen.strength, chosen.at_border), (1e-4, false));
        // Each number comes with both classes, so that it tells nothing, however strong it is.
        let mut noise = Rows::new(1, 2);
        (0..200).for_each(|row| noise.push(&[((row / 2) % 7) as f32], row % 2));
        noise.standardize();
        let chosen = choose(&noise, &groups, &|| false).unwrap();
        assert!(chosen.at_border && chosen.strength == STRENGTHS[0]);
    }

    #[test]
    fn too_few_groups_leave_no_choice_and_a_stop_ends_it() {
        let few = choose(&rows(4), &[0, 1, 0, 1], &|| true).unwrap();
        assert_eq!((few.folds, few.strength), (0, WITHOUT_CHOICE));
        assert!(few.out_of_fold.is_empty() && few.score.is_none());
        let groups: Vec<usize> = (0..40).collect();
        assert!(choose(&rows(40), &groups, &|| true).is_none());
    }
}
