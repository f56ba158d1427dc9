//! The part of the page that says what was in the dataset.

use maskline_dataset::{FaceCounts, Split};
use maud::{Markup, html};

use super::{
    contents::Report,
    text::{grouped, percent},
};

pub(super) fn dataset(report: &Report) -> Markup {
    let dataset = &report.dataset;
    let images = |split, label| {
        let split = dataset.images.get(&split);
        split
            .and_then(|split| split.get(label))
            .copied()
            .unwrap_or_default()
    };
    let all = |split| {
        dataset
            .images
            .get(&split)
            .map_or(0, |split| split.values().sum())
    };
    html! {
        section {
            h2 { "Dataset" }
            p.quiet { "Dataset " code { (dataset.id) } }
            div.wide {
                table {
                    thead { tr {
                        th { "Images" } th.number { "training" } th.number { "validation" } th.number { "test" }
                    } }
                    tbody {
                        @for class in &report.classes {
                            tr {
                                td { (class.label) }
                                td.number { (grouped(images(Split::Train, &class.label))) }
                                td.number { (grouped(images(Split::Validation, &class.label))) }
                                td.number { (grouped(images(Split::Test, &class.label))) }
                            }
                        }
                        tr.sum {
                            td { "all" }
                            td.number { (grouped(all(Split::Train))) }
                            td.number { (grouped(all(Split::Validation))) }
                            td.number { (grouped(all(Split::Test))) }
                        }
                    }
                }
            }
            (faces(report))
            p {
                "Near-duplicates and crops of one photograph are in the same split where they are recognized: there are " (grouped(dataset.near_duplicate_groups)) " groups of them. "
                @if let Some(shortcut) = &report.shortcut {
                    "Width, height, bytes and format of the files alone, without a pixel, tell the class of "
                    (percent(shortcut.recall)) " of the validation images, as the mean over the classes, where guessing tells "
                    (percent(shortcut.guessing)) ". "
                }
                "Set aside, because near-duplicates have different labels: " (grouped(dataset.set_aside)) " images."
            }
        }
    }
}

/// The images by split and number of faces. It is empty if nobody counted them.
fn faces(report: &Report) -> Markup {
    let of_split = |split| {
        let counts = report.dataset.faces.get(&split);
        counts.copied().unwrap_or_default().named()
    };
    let splits = [Split::Train, Split::Validation, Split::Test].map(of_split);
    let kinds = FaceCounts::default().named().into_iter().enumerate();
    let rows = kinds.map(|(kind, (name, _))| (name, splits.map(|named| named[kind].1)));
    let rows = rows.filter(|(_, counts)| counts.iter().any(|&count| count > 0));
    let rows: Vec<_> = rows.collect();
    html! {
        @if !rows.is_empty() {
            div.wide {
                table {
                    thead { tr {
                        th { "Faces in the picture" } th.number { "training" } th.number { "validation" }
                        th.number { "test" }
                    } }
                    tbody {
                        @for (name, counts) in rows {
                            tr {
                                td { (name) }
                                @for count in counts { td.number { (grouped(count)) } }
                            }
                        }
                    }
                }
            }
            p.quiet {
                "A picture with several faces has one label, which may not be that of all of them. "
                code { "maskline datasets review" } " lists these pictures."
            }
        }
    }
}
