//! `maskline evaluate`: how good a model is on the images of a folder or of a dataset.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::Cell;
use indicatif::ProgressIterator;
use maskline_dataset::Split;
use maskline_messages::Label;
use maskline_models::prediction::{Confusion, Tally};
use maskline_storage::records::Dataset;
use serde::Serialize;

use super::{
    model::{BATCH, Model, ModelArgs, files_below},
    predict::Answer,
};
use crate::{
    connection::ConnectionArgs,
    evaluation_view, lookup,
    output::{self, number, percent},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maskline evaluate 0195 photos/    (photos/with_mask/…, photos/without_mask/…)\n  \
                  maskline evaluate 0195 masks@3    (its test and validation images, by source)"
)]
pub(crate) struct Evaluate {
    #[command(flatten)]
    model: ModelArgs,
    /// A folder with one folder of images for each class; or a collection (its newest version), a
    /// version such as masks@3, or the id of a dataset or its beginning
    #[arg(value_name = "FOLDER|DATASET")]
    images: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// How good a model is on the images of a folder, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Evaluation {
    /// Images that were classified.
    images: u64,
    accuracy: f64,
    /// Mean cross-entropy, in nats.
    loss: f64,
    classes: Vec<Label>,
    /// A row for each true class, and a column for each predicted class.
    confusion: Confusion,
    /// Files that can't be read or are not images.
    skipped: Vec<Skipped>,
    /// What the model says about each image, in the order of their paths.
    files: Vec<EvaluatedFile>,
}

/// One image that was classified.
#[derive(Debug, Serialize)]
struct EvaluatedFile {
    /// The class of its folder.
    r#true: Label,
    #[serde(flatten)]
    answer: Answer,
}

/// A file that was not classified.
#[derive(Debug, Serialize)]
struct Skipped {
    path: PathBuf,
    problem: String,
}

impl Evaluate {
    pub(crate) async fn run(self) -> Result<()> {
        if !self.images.exists() {
            return self.run_on_dataset().await;
        }
        let images = files_below(&self.images)?.len();
        let model = self.model.load(&self.connection, images).await?;
        let files = files_by_class(&self.images, &model.card().classes)?;
        let evaluation = tokio::task::spawn_blocking(move || evaluate(&model, &files)).await??;
        if self.json {
            return output::print_json(&evaluation);
        }
        for skipped in &evaluation.skipped {
            let (path, problem) = (skipped.path.display(), &skipped.problem);
            output::note(format!("{path}: skipped: {problem}"));
        }
        output::print(format!(
            "{} images, accuracy {}, loss {:.4}",
            evaluation.images,
            percent(Some(evaluation.accuracy as f32)),
            evaluation.loss
        ))?;
        output::print(confusion_table(&evaluation))
    }

    /// Measures the model on the images of a frozen dataset that no network is trained on.
    async fn run_on_dataset(self) -> Result<()> {
        let name = self.images.to_string_lossy();
        let stores = self.connection.stores().await?;
        let (objects, catalog) = (&stores.objects, stores.catalog.as_ref());
        let dataset = lookup::dataset(catalog, &name).await;
        let dataset = dataset.context("neither a folder nor a dataset")?;
        let weights = self.model.weights(&self.connection).await?;
        let frozen = catalog.dataset(&dataset).await?;
        let images = frozen.map_or(0, |frozen| images_measured(&frozen));
        let images = usize::try_from(images).unwrap_or(usize::MAX);
        let compute = self.model.compute(&self.connection, images)?;
        let evaluation =
            maskline_trainer::evaluate(objects, catalog, &dataset, weights, compute).await?;
        if self.json {
            return output::print_json(&evaluation);
        }
        let heading = "accuracy".to_owned();
        output::print(evaluation_view::text(&[(heading, &evaluation)]))
    }
}

/// The number of images of a dataset that a model is measured on: all but those to train on.
fn images_measured(dataset: &Dataset) -> u64 {
    let splits = dataset.images.iter();
    let measured = splits.filter(|(split, _)| *split != Split::Train.name());
    measured.flat_map(|(_, classes)| classes.values()).sum()
}

fn confusion_table(evaluation: &Evaluation) -> comfy_table::Table {
    let classes = evaluation.classes.iter().map(Label::as_str);
    let headings: Vec<String> = classes
        .clone()
        .map(|class| format!("predicted {class}"))
        .collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = output::table(&[&["class"], headings.as_slice()].concat());
    for (class, row) in classes.zip(evaluation.confusion.rows()) {
        let counts = row.iter().map(number);
        table.add_row(std::iter::once(Cell::new(class)).chain(counts));
    }
    table
}

/// The files in `dir`, sorted by path, each with the index of its class.
fn files_by_class(dir: &Path, classes: &[Label]) -> Result<Vec<(PathBuf, usize)>> {
    let mut files = vec![];
    if dir.is_file() {
        bail!(
            "{} is a file, and evaluate takes a folder with a folder of images for each class: \
             maskline predict classifies single files",
            dir.display()
        );
    }
    let folders = std::fs::read_dir(dir);
    for folder in folders.with_context(|| format!("{} can't be read", dir.display()))? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let Some(class) = classes.iter().position(|class| class.as_str() == name) else {
            let known: Vec<&str> = classes.iter().map(Label::as_str).collect();
            bail!(
                "the model knows no class {name} ({}): rename the folder or move it away",
                known.join(", ")
            );
        };
        files.extend(files_below(&folder)?.into_iter().map(|path| (path, class)));
    }
    if files.is_empty() {
        bail!("{} holds no folder of images for a class", dir.display());
    }
    files.sort();
    Ok(files)
}

fn evaluate(model: &Model, files: &[(PathBuf, usize)]) -> Result<Evaluation> {
    let classes = model.card().classes.clone();
    let mut confusion = Confusion::new(classes.len());
    let mut tally = Tally::default();
    let (mut evaluated, mut skipped) = (vec![], vec![]);
    for chunk in files
        .chunks(BATCH)
        .progress_with(bar(files.len().div_ceil(BATCH)))
    {
        let paths: Vec<&Path> = chunk.iter().map(|(path, _)| path.as_path()).collect();
        for ((path, class), classified) in chunk.iter().zip(model.classify(&paths)?) {
            match classified {
                Ok(classified) => {
                    confusion.add(&classified.prediction, *class);
                    tally.add(&classified.prediction, *class);
                    evaluated.push(EvaluatedFile {
                        r#true: classes[*class].clone(),
                        answer: Answer::new(path, &classified, model.card()),
                    });
                }
                Err(problem) => skipped.push(Skipped {
                    path: path.clone(),
                    problem,
                }),
            }
        }
    }
    if tally.images == 0 {
        bail!("none of the {} files is an image", files.len());
    }
    Ok(Evaluation {
        images: tally.images,
        accuracy: tally.accuracy(),
        loss: tally.mean_loss(),
        classes,
        confusion,
        skipped,
        files: evaluated,
    })
}

fn bar(steps: usize) -> indicatif::ProgressBar {
    // The bar hides itself if standard error is not a terminal.
    indicatif::ProgressBar::new(steps as u64)
}
