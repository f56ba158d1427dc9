//! The report as an HTML page. It is one file that loads nothing, in the light or dark
//! colours that the reader prefers.

use std::ops::Range;

use maskline_dataset::Split;
use maskline_messages::{Optimizer, Start, TrainingSettings, View};
use maskline_models::prediction::Confusion;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::style::RGBColor;

use super::{
    by_faces::by_faces,
    by_source::{by_source, lead},
    calibration::calibration,
    contents::Report,
    curves::{self, Curve},
    robustness::robustness,
    text::{beginning, duration, grouped, percent, share},
    thumbnails::Thumbnail,
};
use crate::{metrics::Epoch, probe::ProbeFacts};

const STYLE: &str = include_str!("page.css");

/// The colours of the two curves. Both stand out from a light and from a dark background, and
/// they differ in brightness, for readers who do not see colours.
const TRAINING_COLOR: RGBColor = RGBColor(0xe0, 0x8a, 0x1e);
const VALIDATION_COLOR: RGBColor = RGBColor(0x3b, 0x7d, 0xd8);

/// Returns the whole page. `thumbnails` are those of the report's mistakes, in their order.
pub(crate) fn page(report: &Report, thumbnails: &[Thumbnail]) -> String {
    let test = report.evaluation.test.as_ref();
    let accuracy = percent(test.map_or(report.accuracy, |test| test.accuracy).into());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.network) ", " (accuracy) " – maskline" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (report.network) }
                    (lead(report))
                    @for warning in &report.warnings { p.warning { (warning) } }
                    p.quiet { "Run " code { (report.run) } }
                }
                main {
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
                }
            }
        }
    };
    page.into_string()
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
                        th.number { "Best validation loss" } th.number { "Best validation accuracy" }
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
                    "The network is that of epoch " (report.best_epoch) " of " (report.epochs.len())
                    ", evaluated as it is published."
                }
                " The loss is the mean cross-entropy, in nats."
            }
        }
    }
}

fn learning(report: &Report) -> Markup {
    match &report.probe {
        Some(probe) => cross_validation(probe),
        None => epochs(report),
    }
}

/// What a linear probe has in place of curves.
fn cross_validation(probe: &ProbeFacts) -> Markup {
    html! {
        section {
            h2 { "Learning" }
            p {
                "A linear probe has no epochs, and so there are no curves. What the pretrained network sees in each of the "
                (grouped(probe.images as u64)) " training images, " (grouped(probe.features as u64))
                " numbers, was computed once, and a logistic regression was fitted to it."
            }
            @if let (Some(accuracy), Some(loss)) = (probe.accuracy, probe.loss) {
                p {
                    "The strength of its regularization, " (probe.strength) ", has the lowest loss in a cross-validation with "
                    (probe.folds) " folds, which keeps near-duplicates together. There, " (percent(accuracy))
                    " of the training images were classified correctly by a probe that had not seen them, and the loss was "
                    (format!("{loss:.4}")) "."
                }
            } @else {
                p {
                    "A class has too few images that look different for a cross-validation. The strength of the regularization is "
                    (probe.strength) "."
                }
            }
        }
    }
}

fn epochs(report: &Report) -> Markup {
    let of = |value: fn(&Epoch) -> f32| -> Vec<f64> {
        report
            .epochs
            .iter()
            .map(|epoch| value(epoch).into())
            .collect()
    };
    let losses = [
        of(|epoch| epoch.training.loss),
        of(|epoch| epoch.validation.loss),
    ];
    let accuracies = [
        of(|epoch| epoch.training.accuracy),
        of(|epoch| epoch.validation.accuracy),
    ];
    html! {
        section {
            h2 { "Learning" }
            p.key {
                span.training { "training (augmented images)" } " "
                span.validation { "validation" }
            }
            div.pair {
                figure {
                    figcaption { "Loss by epoch, in nats" }
                    (chart(&losses, loss_range(&losses), |loss| format!("{loss:.2}")))
                }
                figure {
                    figcaption { "Accuracy by epoch" }
                    (chart(&accuracies, accuracy_range(&accuracies), |share| format!("{:.0} %", share * 100.0)))
                }
            }
        }
    }
}

fn chart(
    [training, validation]: &[Vec<f64>; 2],
    height: Range<f64>,
    label: fn(&f64) -> String,
) -> Markup {
    let curves = [(TRAINING_COLOR, training), (VALIDATION_COLOR, validation)];
    let curves = curves.map(|(color, values)| Curve {
        color,
        values: values.clone(),
    });
    PreEscaped(curves::svg(&curves, height, label))
}

/// The range from 0 to just above the highest loss. A loss that was very high once is cut
/// off, so that it does not flatten the rest of the curve.
fn loss_range(losses: &[Vec<f64>; 2]) -> Range<f64> {
    const CEILING: f64 = 3.0;
    let highest = losses.iter().flatten().copied().fold(0.1, f64::max);
    0.0..(highest * 1.05).min(CEILING)
}

/// The range from the tenth at or below the lowest accuracy to 1.
fn accuracy_range(accuracies: &[Vec<f64>; 2]) -> Range<f64> {
    let lowest = accuracies.iter().flatten().copied().fold(0.9, f64::min);
    ((lowest * 10.0).floor() / 10.0).max(0.0)..1.0
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

fn dataset(report: &Report) -> Markup {
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
            p {
                "Near-duplicates and crops of one photograph are always in the same split: there are " (grouped(dataset.near_duplicate_groups)) " groups of them. "
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
        ("Batch", format!("{} images", settings.batch)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_shows_all_of_its_curve() {
        let losses = [vec![0.7, 0.2], vec![0.9, 0.3]];
        assert!(loss_range(&losses).contains(&0.9));
        assert_eq!(accuracy_range(&[vec![0.55], vec![0.97]]), 0.5..1.0);
        assert_eq!(accuracy_range(&[vec![0.99], vec![0.97]]), 0.9..1.0);
    }
}
