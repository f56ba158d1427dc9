//! The part of the page that says how the network learned: its curves, or the cross-validation of a
//! linear probe.

use std::ops::Range;

use maud::{Markup, PreEscaped, html};

use super::{
    contents::Report,
    curves::{self, Curve},
    plot::{FIRST_COLOR, SECOND_COLOR},
    text::{grouped, percent},
};
use crate::{metrics::Epoch, probe::ProbeFacts};

pub(super) fn learning(report: &Report) -> Markup {
    match &report.probe {
        Some(probe) => cross_validation(probe),
        None => epochs(report),
    }
}

/// What a linear probe has in place of curves.
fn cross_validation(probe: &ProbeFacts) -> Markup {
    html! {
        section {
            h2 { "Learning" }
            p {
                "A linear probe has no epochs, and so there are no curves. What the pretrained network sees in each of the "
                (grouped(probe.images as u64)) " training images, " (grouped(probe.features as u64))
                " numbers, was computed once, and a logistic regression was fitted to it."
            }
            @if let (Some(accuracy), Some(loss)) = (probe.accuracy, probe.loss) {
                p {
                    "The strength of its regularization, " (probe.strength) ", was chosen by its loss in a cross-validation with "
                    (probe.folds) " folds, which keeps near-duplicates together. There, " (percent(accuracy))
                    " of the training images were classified correctly by a probe that had not seen them, and the loss was "
                    (format!("{loss:.4}")) "."
                    @if probe.at_border {
                        " It is at the border of the strengths that were tried: one beyond it may be better."
                    }
                }
            } @else {
                p {
                    "A class has too few images that look different for a cross-validation. The strength of the regularization is "
                    (probe.strength) "."
                }
            }
        }
    }
}

fn epochs(report: &Report) -> Markup {
    let of = |value: fn(&Epoch) -> f32| -> Vec<f64> {
        report
            .epochs
            .iter()
            .map(|epoch| value(epoch).into())
            .collect()
    };
    let losses = [
        of(|epoch| epoch.training.loss),
        of(|epoch| epoch.validation.loss),
    ];
    let accuracies = [
        of(|epoch| epoch.training.accuracy),
        of(|epoch| epoch.validation.accuracy),
    ];
    html! {
        section {
            h2 { "Learning" }
            p.key {
                span.training { "training (augmented images)" } " "
                span.validation { "validation" }
            }
            @if report.settings.mixup + report.settings.cutmix > 0.0 {
                p.quiet { "A training image that is mixed with another counts for both classes, by their shares of it." }
            }
            div.pair {
                figure {
                    figcaption { "Loss by epoch, in nats" }
                    (chart(&losses, loss_range(&losses), |loss| format!("{loss:.2}")))
                }
                figure {
                    figcaption { "Accuracy by epoch" }
                    (chart(&accuracies, accuracy_range(&accuracies), |share| format!("{:.0} %", share * 100.0)))
                }
            }
        }
    }
}

fn chart(
    [training, validation]: &[Vec<f64>; 2],
    height: Range<f64>,
    label: fn(&f64) -> String,
) -> Markup {
    let curves = [(FIRST_COLOR, training), (SECOND_COLOR, validation)];
    let curves = curves.map(|(color, values)| Curve {
        color,
        values: values.clone(),
    });
    PreEscaped(curves::svg(&curves, height, label))
}

/// The range from 0 to just above the highest loss. A loss that was very high once is cut
/// off, so that it does not flatten the rest of the curve.
fn loss_range(losses: &[Vec<f64>; 2]) -> Range<f64> {
    const CEILING: f64 = 3.0;
    let highest = losses.iter().flatten().copied().fold(0.1, f64::max);
    0.0..(highest * 1.05).min(CEILING)
}

/// The range from the tenth at or below the lowest accuracy to 1.
fn accuracy_range(accuracies: &[Vec<f64>; 2]) -> Range<f64> {
    let lowest = accuracies.iter().flatten().copied().fold(0.9, f64::min);
    ((lowest * 10.0).floor() / 10.0).max(0.0)..1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_shows_all_of_its_curve() {
        let losses = [vec![0.7, 0.2], vec![0.9, 0.3]];
        assert!(loss_range(&losses).contains(&0.9));
        assert_eq!(accuracy_range(&[vec![0.55], vec![0.97]]), 0.5..1.0);
        assert_eq!(accuracy_range(&[vec![0.99], vec![0.97]]), 0.9..1.0);
    }
}
