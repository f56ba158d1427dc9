//! The report of a study as an HTML page, in the style of the reports of runs.

use maskline_messages::{
    Tunable, TuningSearch,
    tunable::Range::{self, Logarithmic},
};
use maud::{Markup, PreEscaped, html};

use super::{
    contents::{StudyReport, TrialReport},
    scatter::{self, Dots},
};
use crate::report::{
    document, percent,
    plot::{FIRST_COLOR, SECOND_COLOR},
};

/// Returns the whole page.
pub(in crate::tuning) fn page(report: &StudyReport) -> String {
    let title = format!("Tuning {}", report.network);
    let header = html! {
        h1 { (title) }
        (lead(report))
        p.quiet { "Study " code { (report.study) } " on dataset " code { (report.dataset) } }
    };
    let content = html! {
        (best(report))
        (effects(report))
        (trials(report))
    };
    document(&title, &header, &content)
}

fn lead(report: &StudyReport) -> Markup {
    let trials = report.trials.len();
    html! {
        @if let Some(best) = report.best() {
            p.lead {
                "The best of " (trials) " trials is trial " (best.trial)
                @if let Some(rung) = best.rungs.last() {
                    ", with an accuracy of " (percent(rung.accuracy.into())) " on the validation images"
                }
                "."
            }
        }
        @if let Some(error) = &report.error { p.warning { "The study failed: " (error) } }
        p.quiet { (how(report)) }
    }
}

/// How the trials were searched, in a sentence.
fn how(report: &StudyReport) -> String {
    let epochs: Vec<String> = report.rungs.iter().map(u32::to_string).collect();
    match (report.search, epochs.split_last()) {
        (TuningSearch::Asha, Some((all, earlier))) if !earlier.is_empty() => format!(
            "Each trial was measured after {} epochs, and about the best third went on each time, up \
             to {all} epochs (ASHA). Trial 0 went on in any case.",
            earlier.join(" and ")
        ),
        (_, Some((all, _))) => format!("Each trial was trained for all {all} epochs."),
        (_, None) => String::new(),
    }
}

/// The best trial's settings, beside the usual ones.
fn best(report: &StudyReport) -> Markup {
    let (Some(best), Some(usual), Some(model)) = (report.best(), report.usual(), report.model)
    else {
        return html! {};
    };
    html! {
        section {
            h2 { "Best trial" }
            div.wide {
                table {
                    thead { tr { th { "Setting" } th.number { "best" } th.number { "usual" } } }
                    tbody {
                        @for tunable in &report.varied {
                            tr {
                                td { (tunable.title()) }
                                td.number { (tunable.text(&best.settings)) }
                                td.number { (tunable.text(usual)) }
                            }
                        }
                    }
                }
            }
            p.quiet {
                "It is published as the model " code { (model) } ". It was chosen by its accuracy on the "
                "validation images, which is therefore a little too high: only test images say how good it is."
            }
        }
    }
}

fn effects(report: &StudyReport) -> Markup {
    let (Some(&first), Some(&last)) = (report.rungs.first(), report.rungs.last()) else {
        return html! {};
    };
    html! {
        section {
            h2 { "Settings and accuracy" }
            p.key {
                @if first != last {
                    span.training { "all trials after " (counted(first)) } " "
                }
                span.validation { "after all " (counted(last)) }
            }
            div.pair {
                @for tunable in &report.varied {
                    figure {
                        figcaption { "Accuracy by " (tunable.title()) }
                        (effect(report, tunable))
                    }
                }
            }
        }
    }
}

fn counted(epochs: u32) -> String {
    match epochs {
        1 => "1 epoch".to_owned(),
        _ => format!("{epochs} epochs"),
    }
}

/// One setting against the accuracy. Accuracies after different numbers of epochs can't be compared,
/// and so they have different colours.
fn effect(report: &StudyReport, tunable: &Tunable) -> Markup {
    let dots = |color, epochs| {
        let point = |trial: &TrialReport| {
            let value = tunable.value(&trial.trial.settings)?;
            Some((value, trial.after(epochs)?.accuracy))
        };
        let points = report.trials.iter().filter_map(point).collect();
        Dots { color, points }
    };
    let mut all = vec![];
    if let (Some(&first), Some(&last)) = (report.rungs.first(), report.rungs.last()) {
        if first != last {
            all.push(dots(FIRST_COLOR, first));
        }
        all.push(dots(SECOND_COLOR, last));
    }
    let range: Option<Range> = report
        .usual()
        .and_then(|usual| tunable.range(report.network, usual));
    let is_logarithmic = matches!(range, Some(Logarithmic { .. }));
    PreEscaped(scatter::svg(&all, is_logarithmic))
}

fn trials(report: &StudyReport) -> Markup {
    html! {
        section {
            h2 { "Trials" }
            p.quiet {
                "The accuracy is that on the validation images at the end of its last rung. Trial 0 has the "
                "usual settings of the network."
            }
            div.wide {
                table {
                    thead { tr {
                        th.number { "Trial" }
                        @for tunable in &report.varied { th.number { (tunable.title()) } }
                        @for &epochs in &report.rungs { th.number { "after " (counted(epochs)) } }
                        th { "End" }
                    } }
                    tbody {
                        @for trial in &report.trials { (row(report, trial)) }
                    }
                }
            }
        }
    }
}

fn row(report: &StudyReport, trial: &TrialReport) -> Markup {
    html! {
        tr.sum[report.best == Some(trial.trial.trial)] {
            td.number { (trial.trial.trial) }
            @for tunable in &report.varied {
                td.number { (tunable.text(&trial.trial.settings)) }
            }
            @for &epochs in &report.rungs {
                td.number {
                    (trial.after(epochs).map_or("–".to_owned(), |rung| percent(rung.accuracy.into())))
                }
            }
            td {
                (trial.end)
                @if let Some(error) = &trial.trial.error { ": " (error) }
            }
        }
    }
}
