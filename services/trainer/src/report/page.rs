//! The report as an HTML page.

use maskline_messages::{Optimizer, Start, TrainingSettings, View};
use maskline_models::prediction::Confusion;
use maud::{Markup, html};

use super::{
    by_faces::by_faces,
    by_source::{by_source, lead},
    calibration::calibration,
    contents::Report,
    dataset::dataset,
    document::document,
    learning::learning,
    robustness::robustness,
    text::{beginning, duration, grouped, percent, share},
    thumbnails::Thumbnail,
};
use crate::parts::Parts;

/// Returns the whole page. `thumbnails` are those of the report's mistakes, in their order.
pub(crate) fn page(report: &Report, thumbnails: &[Thumbnail]) -> String {
    let test = report.evaluation.test.as_ref();
    let accuracy = percent(test.map_or(report.accuracy, |test| test.accuracy).into());
    let header = html! {
        h1 { (report.network) }
        (lead(report))
        @for warning in &report.warnings { p.warning { (warning) } }
        p.quiet { "Run " code { (report.run) } }
    };
    let content = html! {
        (result(report))
        (by_source(report))
        (learning(report))
        (confusions(report))
        (calibration(report))
        (by_faces(report))
        (robustness(report))
        (mistakes(report, thumbnails))
        (dataset(report))
        (training(report))
        (layers(report))
    };
    document(
        &format!("{}, {accuracy}", report.network),
        &header,
        &content,
    )
}

fn result(report: &Report) -> Markup {
    let test = report.evaluation.test.as_ref();
    html! {
        section {
            h2 { "Result" }
            div.wide {
                table {
                    thead { tr {
                        th { "Network" } th.number { "Layers" } th.number { "Parameters" }
                        @if test.is_some() { th.number { "Test accuracy" } }
                        th.number { "Validation loss" } th.number { "Validation accuracy" }
                        th.number { "Training time" }
                    } }
                    tbody { tr {
                        td { (report.network) }
                        td.number { (report.layers) }
                        td.number { (grouped(report.parameters)) }
                        @if let Some(test) = test { td.number { (percent(test.accuracy.into())) } }
                        td.number { (format!("{:.4}", report.loss)) }
                        td.number { (percent(report.accuracy.into())) }
                        td.number { (duration(report.seconds)) }
                    } }
                }
            }
            p.quiet {
                @if report.probe.is_some() {
                    "The network is a pretrained EfficientNet-Lite0 whose last layer was learned from "
                    "the training images."
                } @else {
                    "The network is that of the last epoch, evaluated as it is published."
                }
                " The loss is the mean cross-entropy, in nats, with the network's temperature."
            }
        }
    }
}

fn confusions(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Confusion" }
            @if let Some(test) = &report.test_confusion {
                p.quiet { "The test images of each class, by row, and the classes that were predicted for them, by column." }
                (confusion(report, test))
                p.quiet { "The same for the validation images." }
            } @else {
                p.quiet { "The validation images of each class, by row, and the classes that were predicted for them, by column." }
            }
            (confusion(report, &report.confusion))
        }
    }
}

fn confusion(report: &Report, confusion: &Confusion) -> Markup {
    let total = |row: &[u64]| row.iter().sum::<u64>();
    let rows = confusion.rows();
    let right: u64 = rows.iter().enumerate().map(|(class, row)| row[class]).sum();
    let images: u64 = rows.iter().map(|row| total(row)).sum();
    html! {
        div.wide {
            table.confusion {
                thead { tr {
                    th {}
                    @for class in &report.classes { th.number { (class.label) } }
                    th.number { "recall" }
                } }
                tbody {
                    @for (row, class) in report.classes.iter().enumerate() {
                        tr {
                            th { (class.label) }
                            @for (column, count) in rows[row].iter().enumerate() {
                                td.number.right[row == column].wrong[row != column && *count > 0]
                                    style=(shade(*count, total(&rows[row]))) { (count) }
                            }
                            td.number { (share(confusion.recall(row))) }
                        }
                    }
                    tr {
                        th { "precision" }
                        @for column in 0..report.classes.len() {
                            td.number { (share(confusion.precision(column))) }
                        }
                        td.number { (percent(right as f64 / images.max(1) as f64)) }
                    }
                }
            }
        }
    }
}

/// The strength of a cell's colour, which is its share of the row.
fn shade(count: u64, of: u64) -> String {
    format!("--share: {:.0}%", 100.0 * count as f64 / of.max(1) as f64)
}

fn mistakes(report: &Report, thumbnails: &[Thumbnail]) -> Markup {
    html! {
        section {
            h2 { "Worst mistakes" }
            @if report.mistakes.is_empty() {
                p { "There are none: every validation image is classified correctly." }
            } @else {
                p.quiet { "The validation images with the highest loss among those that are classified wrongly, the worst first. In some cases it may be the label that is wrong." }
                div.gallery {
                    @for (mistake, Thumbnail(picture)) in report.mistakes.iter().zip(thumbnails) {
                        figure {
                            img src=(picture) alt=(format!("{} classified as {}", mistake.label, mistake.predicted)) loading="lazy";
                            figcaption {
                                "label " strong { (mistake.label) } br;
                                "predicted " strong { (mistake.predicted) } ", " (percent(mistake.confidence)) br;
                                code title=(mistake.image) { (beginning(&mistake.image.to_string())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn training(report: &Report) -> Markup {
    let facts = match report.probe {
        Some(_) => probe_facts(report),
        None => network_facts(report),
    };
    html! {
        section {
            h2 { "Training" }
            dl {
                @for (name, value) in facts {
                    div { dt { (name) } dd { (value) } }
                }
            }
        }
    }
}

fn probe_facts(report: &Report) -> Vec<(&'static str, String)> {
    let settings = &report.settings;
    vec![
        ("Device", report.devices.join(", then ")),
        ("Training time", duration(report.seconds)),
        ("Input", input(settings)),
        ("Seed", settings.seed.to_string()),
    ]
}

fn input(settings: &TrainingSettings) -> String {
    let pixels = settings.pixels;
    let shown = match settings.view {
        View::CloseUp => "of the best face, closely",
        View::Face => "of the best face",
        View::Whole => "of the whole picture",
    };
    format!("{pixels} × {pixels} pixels {shown}")
}

fn begins_from(settings: &TrainingSettings) -> String {
    let weights = match settings.start {
        Start::Scratch => return "random weights".to_owned(),
        Start::Pretrained => "the pretrained weights of maskline".to_owned(),
        Start::Stored(id) => format!("the weights {}", beginning(&id.to_string())),
    };
    match settings.frozen_blocks {
        0 => weights,
        blocks => format!("{weights}, of which the stem and {blocks} blocks stay"),
    }
}

fn batch(report: &Report) -> String {
    let images = format!("{} images", report.settings.batch);
    let parts = report.epochs.iter().map(|epoch| epoch.parts).max();
    match parts.map_or(1, Parts::count) {
        1 => images,
        parts => format!(
            "{images}, computed in {parts} parts, because the device had no memory for more"
        ),
    }
}

fn network_facts(report: &Report) -> Vec<(&'static str, String)> {
    let settings = &report.settings;
    let optimizer = match settings.optimizer {
        Optimizer::Adamw => "AdamW",
        Optimizer::Sgd => "SGD with Nesterov momentum",
    };
    let mut facts = vec![
        ("Device", report.devices.join(", then ")),
        ("Speed", format!("{:.0} images/s", report.images_per_second)),
        ("Training time", duration(report.seconds)),
        ("Epochs", settings.epochs.to_string()),
        ("Batch", batch(report)),
        ("Input", input(settings)),
        ("Optimizer", optimizer.to_owned()),
        ("Peak learning rate", settings.learning_rate.to_string()),
        ("Warm-up, in epochs", settings.warmup_epochs.to_string()),
        ("Begins from", begins_from(settings)),
        ("Weight decay", settings.weight_decay.to_string()),
        ("Label smoothing", settings.label_smoothing.to_string()),
    ];
    // What most runs do without.
    let rate = settings.backbone_rate;
    if rate != 1.0 {
        let share = format!("{rate} of the learning rate");
        facts.push(("Learning rate before the last layer", share));
    }
    if let Some(depth) = settings.stochastic_depth {
        facts.push(("Stochastic depth", depth.to_string()));
    }
    for (name, share) in [
        ("EMA of the weights", settings.ema),
        ("Steps with mixup", settings.mixup),
        ("Steps with CutMix", settings.cutmix),
    ] {
        if share > 0.0 {
            facts.push((name, share.to_string()));
        }
    }
    if settings.mirror_image {
        let mean = "the mean of a picture and its mirror image";
        facts.push(("Predictions", mean.to_owned()));
    }
    facts.push(("Seed", settings.seed.to_string()));
    facts
}

fn layers(report: &Report) -> Markup {
    html! {
        section {
            details {
                summary { "All " (report.summary.len()) " layers" }
                div.wide {
                    table {
                        thead { tr {
                            th { "Layer" } th { "Kind" } th.number { "Channels out" } th.number { "Parameters" }
                        } }
                        tbody {
                            @for layer in &report.summary {
                                tr {
                                    td { code { (layer.name) } }
                                    td { (layer.kind) }
                                    td.number { (layer.channels) }
                                    td.number { (grouped(layer.parameters)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
