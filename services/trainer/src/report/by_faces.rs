//! The part of the page that says how good the network is by the faces in the pictures.

use maud::{Markup, html};

use super::{
    contents::Report,
    text::{grouped, percent},
};

pub(super) fn by_faces(report: &Report) -> Markup {
    html! {
        @if !report.faces.is_empty() {
            section {
                h2 { "Faces" }
                div.wide {
                    table {
                        thead { tr {
                            th { "Validation pictures" } th.number { "Images" } th.number { "Accuracy" }
                            th.number { "95 % interval" }
                        } }
                        tbody {
                            @for row in &report.faces {
                                tr {
                                    td { (row.pictures) }
                                    td.number { (grouped(row.images)) }
                                    td.number { (percent(row.accuracy)) }
                                    td.number { (percent(row.interval[0])) " – " (percent(row.interval[1])) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
