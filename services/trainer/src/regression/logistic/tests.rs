use super::*;

const ROWS_COUNT: usize = 90;
const FEATURES: usize = 5;

/// The features and the classes that `make.py` has.
fn data(class_count: usize) -> Rows {
    let mut rows = Rows::new(FEATURES, class_count);
    for row in 0..ROWS_COUNT {
        let value = |feature: usize| {
            let (row, feature) = (row as f64, feature as f64);
            (1.7 * row * (feature + 1.0) + feature).sin() * (feature + 1.0) + 0.5 * feature
        };
        let noise = (3.0 * row as f64).cos() * 2.0;
        let class = (value(0) * 2.0 + value(1) + noise + 4.0) / 8.0 * class_count as f64;
        let class = (class.floor().max(0.0) as usize).min(class_count - 1);
        let features: Vec<f32> = (0..FEATURES).map(|feature| value(feature) as f32).collect();
        rows.push(&features, class);
    }
    rows
}

fn all() -> Vec<usize> {
    (0..ROWS_COUNT).collect()
}

#[test]
fn the_coefficients_are_those_of_scikit_learn() {
    let golden = include_str!("golden.txt");
    for line in golden.lines() {
        let numbers: Vec<f64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let (class_count, strength) = (numbers[0] as usize, numbers[1]);
        let mut rows = data(class_count);
        rows.standardize();
        let start = Coefficients::zero(FEATURES, class_count);
        let found = fit(&rows, &all(), strength, &start);
        let expected = &numbers[2..];
        assert_eq!(found.values.len(), expected.len());
        let largest = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        for (found, expected) in found.values.iter().zip(expected) {
            let off = (found - expected).abs() / largest;
            assert!(
                off < 2e-3,
                "{class_count} classes, {strength}: {found}, not {expected}"
            );
        }
    }
    assert_eq!(golden.lines().count(), 6);
}

#[test]
fn a_fit_ends_at_the_same_whatever_it_began_with() {
    let mut rows = data(2);
    rows.standardize();
    let zero = Coefficients::zero(FEATURES, 2);
    let direct = fit(&rows, &all(), 0.03, &zero);
    let from_strong = fit(&rows, &all(), 0.03, &fit(&rows, &all(), 3.0, &zero));
    for (one, other) in direct.values.iter().zip(&from_strong.values) {
        assert!((one - other).abs() < 2e-3, "{one} and {other}");
    }
}

#[test]
fn the_last_layer_predicts_the_same_from_raw_features() {
    for class_count in [2, 3] {
        let raw = data(class_count);
        let mut rows = raw.clone();
        let scale = rows.standardize();
        let start = Coefficients::zero(FEATURES, class_count);
        let learned = fit(&rows, &all(), 0.03, &start);
        let (weights, biases) = learned.for_raw_features(&scale);
        assert_eq!(
            (weights.len(), biases.len()),
            (class_count * FEATURES, class_count)
        );
        for (row, prediction) in learned.predict(&rows, &all()).iter().enumerate() {
            let logit = |class: usize| {
                let weights = &weights[class * FEATURES..][..FEATURES];
                dot(weights, raw.row(row)) + biases[class]
            };
            let logits: Vec<f32> = (0..class_count).map(logit).collect();
            let by_layer = Prediction::of(&logits);
            for class in 0..class_count {
                let off = by_layer.probability(class) - prediction.probability(class);
                assert!(off.abs() < 1e-4, "{class_count} classes: off by {off:e}");
            }
        }
    }
}

#[test]
fn a_feature_that_is_always_the_same_has_no_weight_of_its_own() {
    let mut rows = Rows::new(2, 2);
    for row in 0..20 {
        rows.push(&[7.0, row as f32], row / 10);
    }
    let scale = rows.standardize();
    assert_eq!((scale.mean[0], scale.deviation[0]), (7.0, 1.0));
    let indices: Vec<usize> = (0..20).collect();
    let learned = fit(&rows, &indices, 0.01, &Coefficients::zero(2, 2));
    assert!(learned.values[0].abs() < 1e-6 && learned.values[1] > 0.5);
    let predictions = learned.predict(&rows, &indices);
    let right = |row: &usize| predictions[*row].class() == row / 10;
    assert_eq!(indices.iter().filter(|row| right(row)).count(), 20);
}

#[test]
fn dot_products_count_the_values_that_do_not_fill_all_lanes() {
    let one: Vec<f32> = (0..37).map(|x| x as f32).collect();
    let twos = vec![2.0; 37];
    assert_eq!(dot(&one, &twos), 1332.0);
}
