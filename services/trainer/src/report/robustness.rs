//! The part of the page that says how good the network is on damaged pictures.

use maud::{Markup, html};

use super::{
    contents::Report,
    text::{grouped, percent},
};

pub(super) fn robustness(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Damaged pictures" }
            div.wide {
                table {
                    thead { tr {
                        th { "Validation images" } th.number { "Images" } th.number { "Accuracy" }
                    } }
                    tbody {
                        @for row in &report.robustness {
                            tr {
                                td { (name(row.corruption)) }
                                td.number { (grouped(row.images)) }
                                td.number { (percent(row.accuracy.into())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The kind of damage for people.
fn name(corruption: Option<&str>) -> String {
    match corruption {
        None => "as they are".to_owned(),
        Some("blur") => "out of focus".to_owned(),
        Some("jpeg") => "as JPEGs of quality 10".to_owned(),
        Some("dark") => "with 30 % of the light".to_owned(),
        Some("low_resolution") => "with 30 % of the resolution".to_owned(),
        Some(other) => other.to_owned(),
    }
}
