//! The part of the page that says how good the network is by the faces in the pictures.

use maud::{Markup, html};

use super::{
    contents::Report,
    text::{grouped, percent, range},
};
use crate::by_faces::FaceScore;

pub(super) fn by_faces(report: &Report) -> Markup {
    let test = report.test_faces.iter().map(|test| ("test images", test));
    let splits = test.chain([("validation images", &report.faces)]);
    let splits = splits.filter(|(_, scores)| !scores.is_empty());
    let splits: Vec<(&str, &Vec<FaceScore>)> = splits.collect();
    html! {
        @if !splits.is_empty() {
            section {
                h2 { "Faces" }
                div.wide {
                    table {
                        thead { tr {
                            th { "Measured on" } th.number { "Images" } th.number { "Accuracy" }
                            th.number { "95 % interval" }
                        } }
                        @for (name, scores) in splits {
                            tbody {
                                @for row in scores {
                                    tr {
                                        td { (name) " " (row.pictures) }
                                        td.number { (grouped(row.images)) }
                                        td.number { (percent(row.accuracy)) }
                                        td.number { (range(row.interval)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
