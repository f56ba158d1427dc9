//! The part of the page that says how good the network is on the images of each source.

use maskline_messages::Start;
use maskline_storage::records::SplitScore;
use maud::{Markup, html};

use super::{
    contents::Report,
    text::{grouped, percent, range},
};

/// The sentences below the network's name. What a network does on images from elsewhere comes
/// first, because that is what its users will see of it.
pub(super) fn lead(report: &Report) -> Markup {
    let validation = percent(report.accuracy.into());
    match &report.evaluation.test {
        Some(test) => html! {
            p.lead {
                strong { (percent(test.accuracy.into())) } " of the test images are classified correctly. "
                "The " (grouped(test.images)) " test images are unseen: they come from sources that this "
                "run was not trained on, and nothing was decided by them."
                @if let Start::Stored(_) = report.settings.start {
                    " What the weights that it began from were trained on is not known."
                }
            }
            p.lead { strong { (validation) } " of the validation images are classified correctly." }
        },
        None => html! {
            p.lead { strong { (validation) } " of the validation images are classified correctly." }
            p.quiet {
                "Nobody knows how good it is on photographs from elsewhere, because the dataset has no "
                "test split. Enqueue a source of them with " code { "--role test" } ", and train again."
            }
        },
    }
}

/// The 95 % confidence interval of an accuracy.
fn interval(interval: [f32; 2]) -> String {
    range(interval.map(f64::from))
}

/// The table of the splits and their sources.
pub(super) fn by_source(report: &Report) -> Markup {
    let evaluation = &report.evaluation;
    let test = evaluation.test.iter().map(|test| ("test images", test));
    let validation = [("validation images", &evaluation.validation)];
    let splits: Vec<(&str, &SplitScore)> = test.chain(validation).collect();
    html! {
        section {
            h2 { "Sources" }
            div.wide {
                table {
                    thead { tr {
                        th { "Measured on" } th.number { "Images" } th.number { "Accuracy" }
                        th.number { "95 % interval" }
                    } }
                    @for (name, score) in splits {
                        tbody {
                            tr.sum {
                                td { "all " (name) }
                                td.number { (grouped(score.images)) }
                                td.number { (percent(score.accuracy.into())) }
                                td.number { (interval(score.interval)) }
                            }
                            @for source in &score.sources {
                                tr {
                                    td { (source.source) }
                                    td.number { (grouped(source.images)) }
                                    td.number { (percent(source.accuracy.into())) }
                                    td.number { (source.interval.map(interval).unwrap_or_default()) }
                                }
                            }
                            @if score.more_sources > 0 {
                                tr { td.quiet colspan="4" { "and " (grouped(score.more_sources)) " more sources" } }
                            }
                        }
                    }
                }
            }
            p.quiet {
                "An image that several sources have counts for each of them."
                @if evaluation.validation.sources.is_empty() {
                    " An earlier version of maskline froze this dataset, and it did not keep the sources."
                }
            }
        }
    }
}
