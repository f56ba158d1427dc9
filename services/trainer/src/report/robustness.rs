//! The part of the page that says how good the network is on damaged pictures.

use maud::{Markup, html};

use super::{
    contents::Report,
    text::{grouped, percent, range},
};

pub(super) fn robustness(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Damaged pictures" }
            div.wide {
                table {
                    thead { tr {
                        th { "Validation images" } th.number { "Images" } th.number { "Accuracy" }
                        th.number { "95 % interval" }
                    } }
                    tbody {
                        @for row in &report.robustness {
                            tr {
                                td { (row.description) }
                                td.number { (grouped(row.images)) }
                                td.number { (percent(row.accuracy.into())) }
                                td.number { (range(row.interval)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
