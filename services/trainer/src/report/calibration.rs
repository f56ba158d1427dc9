//! The part of the page that says how far the probabilities can be believed.

use maskline_models::calibration::{Bin, Calibration};
use maud::{Markup, PreEscaped, html};

use super::{
    contents::Report,
    text::{grouped, percent},
};

/// The side of the plot in its own units. The page scales it.
const SIDE: f64 = 250.0;

/// The reliability plot with its figures. It is empty if there are no validation images.
pub(super) fn calibration(report: &Report) -> Markup {
    let Some(calibration) = &report.calibration else {
        return html! {};
    };
    html! {
        section {
            h2 { "Probabilities" }
            p { (verdict(calibration)) }
            div.pair {
                figure {
                    figcaption { "Share that is right, by the probability of the predicted class" }
                    (PreEscaped(plot(&calibration.bins)))
                }
                div.wide {
                    table {
                        thead { tr {
                            th.number { "Probability" } th.number { "Right" } th.number { "Images" }
                        } }
                        tbody {
                            @for bin in &calibration.bins {
                                tr {
                                    td.number { (percent(bin.confidence)) }
                                    td.number { (percent(bin.accuracy)) }
                                    td.number { (grouped(bin.images)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn verdict(calibration: &Calibration) -> String {
    let sure = match calibration.temperature {
        low if low < 0.95 => "The network is surer than its probabilities say",
        high if high > 1.05 => "The network is less sure than its probabilities say",
        _ => "The probabilities are about right",
    };
    format!(
        "The expected calibration error on the validation images is {}. {sure}: divided by a \
         temperature of {:.2}, the logits fit them best, with an error of {}.",
        percent(calibration.error),
        calibration.temperature,
        percent(calibration.error_with_temperature),
    )
}

/// A dot for each bin, larger for more images, and the diagonal on which they should lie.
fn plot(bins: &[Bin]) -> String {
    let images: u64 = bins.iter().map(|bin| bin.images).sum();
    let dots = bins.iter().map(|bin| {
        let share = bin.images as f64 / images.max(1) as f64;
        format!(
            r#"<circle cx="{:.1}" cy="{:.1}" r="{:.1}" fill="var(--validation)"/>"#,
            bin.confidence * SIDE,
            (1.0 - bin.accuracy) * SIDE,
            3.0 + 9.0 * share.sqrt(),
        )
    });
    let dots: String = dots.collect();
    format!(
        r##"<svg viewBox="-12 -12 {0} {0}" role="img" aria-label="reliability"><rect width="{SIDE}" height="{SIDE}" fill="none" stroke="#DDDDDD"/><path d="M0 {SIDE}L{SIDE} 0" stroke="#DDDDDD" stroke-dasharray="4"/>{dots}</svg>"##,
        SIDE + 24.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bin_is_a_dot_and_the_verdict_says_which_way_the_network_errs() {
        let bin = |confidence, accuracy| Bin {
            images: 10,
            confidence,
            accuracy,
        };
        let bins = vec![bin(0.6, 0.7), bin(0.9, 1.0)];
        assert_eq!(plot(&bins).matches("<circle").count(), 2);
        let calibration = |temperature| Calibration {
            error: 0.1,
            bins: bins.clone(),
            temperature,
            error_with_temperature: 0.02,
        };
        assert!(verdict(&calibration(0.5)).contains("surer than its probabilities say"));
        assert!(verdict(&calibration(2.0)).contains("less sure than"));
        assert!(verdict(&calibration(1.0)).contains("about right"));
    }
}
