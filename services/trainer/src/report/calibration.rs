//! The part of the page that says how far the probabilities can be believed.

use maskline_models::calibration::{Bin, Calibration};
use maud::{Markup, PreEscaped, html};

use super::{
    contents::{BeforeAndAfter, CalibrationFacts, Report},
    text::{grouped, percent},
};

/// The side of a plot in its own units. The page scales it.
const SIDE: f64 = 250.0;

/// The temperatures that change probabilities so little that nobody notices.
const ABOUT_ONE: std::ops::RangeInclusive<f64> = 0.95..=1.05;

/// The reliability plots and the errors, without the temperature and with it.
pub(super) fn calibration(report: &Report) -> Markup {
    let facts = &report.calibration;
    let test = facts.test.iter().map(|test| ("test", test));
    let splits = [("validation", &facts.validation)].into_iter().chain(test);
    let BeforeAndAfter { before, after } = &facts.validation;
    html! {
        section {
            h2 { "Probabilities" }
            p { (verdict(facts)) }
            div.wide {
                table {
                    thead { tr {
                        th { "Expected calibration error" } th.number { "without the temperature" }
                        th.number { "with it" }
                    } }
                    tbody {
                        @for (name, split) in splits {
                            tr {
                                td { (name) " images" }
                                td.number { (percent(split.before.error)) }
                                td.number { (percent(split.after.error)) }
                            }
                        }
                    }
                }
            }
            p.quiet {
                "The share of the validation images that is right, by the probability of the predicted "
                "class. It comes true where the dots lie on the diagonal."
            }
            div.pair {
                (reliability("Without the temperature", before))
                (reliability("With it, as the network is published", after))
            }
        }
    }
}

/// A plot, and its figures.
fn reliability(title: &str, calibration: &Calibration) -> Markup {
    html! {
        figure {
            figcaption { (title) }
            (PreEscaped(plot(&calibration.bins)))
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

fn verdict(facts: &CalibrationFacts) -> String {
    let temperature = facts.temperature.get();
    let raw = match temperature {
        about if ABOUT_ONE.contains(&about) => "its probabilities are about right as they are",
        high if high > 1.0 => "its own probabilities are too high",
        _ => "its own probabilities are too low",
    };
    format!(
        "The network's logits are divided by a temperature of {temperature:.2}, which fits them best \
         to the validation images: {raw}. The predicted classes are the same with any temperature."
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
    use maskline_models::temperature::Temperature;

    use super::*;

    #[test]
    fn each_bin_is_a_dot() {
        let bin = |confidence, accuracy| Bin {
            images: 10,
            confidence,
            accuracy,
        };
        let bins = vec![bin(0.6, 0.7), bin(0.9, 1.0)];
        assert_eq!(plot(&bins).matches("<circle").count(), 2);
    }

    #[test]
    fn the_verdict_says_which_way_the_network_errs() {
        let nothing = Calibration {
            error: 0.0,
            bins: vec![],
        };
        let verdict = |temperature: f64| {
            verdict(&CalibrationFacts {
                temperature: Temperature::try_from(temperature).unwrap(),
                validation: BeforeAndAfter {
                    before: nothing.clone(),
                    after: nothing.clone(),
                },
                test: None,
            })
        };
        assert!(verdict(0.5).contains("0.50") && verdict(0.5).contains("are too low"));
        assert!(verdict(2.0).contains("are too high"));
        assert!(verdict(1.0).contains("about right as they are"));
    }
}
