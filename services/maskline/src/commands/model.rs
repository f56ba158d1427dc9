//! `maskline evaluate` and `predict`: what a model says about image files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use comfy_table::Cell;
use indicatif::ProgressIterator;
use maskline_messages::{Label, ObjectKey};
use maskline_models::{
    Classifier, Input,
    device::{self, Choice},
    prediction::{Confusion, Prediction, Tally},
};
use maskline_vision::decode;
use rayon::prelude::*;
use serde::Serialize;
use walkdir::WalkDir;

use crate::{
    connection::ConnectionArgs,
    evaluation_view, lookup,
    output::{self, number, percent},
};

/// The number of files that are read and classified at a time.
const BATCH: usize = 32;

/// The model, and the device that it computes on.
#[derive(Debug, Args)]
struct ModelArgs {
    /// The id of a model or its beginning, or a safetensors file
    model: String,
    /// The device to compute on: auto (a GPU if there is one and there are many images), gpu or
    /// cpu
    #[arg(long, env = "MASKLINE_DEVICE", default_value_t = Choice::Auto)]
    device: Choice,
}

impl ModelArgs {
    /// Reads the model's file, or what was published in the stores.
    async fn weights(&self, connection: &ConnectionArgs) -> Result<Bytes> {
        if Path::new(&self.model).is_file() {
            let weights = std::fs::read(&self.model);
            let weights = weights.with_context(|| format!("{} can't be read", self.model))?;
            return Ok(weights.into());
        }
        let stores = connection.stores().await?;
        let models = stores.catalog.models(lookup::ALL).await?;
        let ids = models.into_iter().map(|model| model.id);
        let id = lookup::by_prefix(&self.model, "model", "maskline models", ids)
            .context("neither a safetensors file nor a published model")?;
        Ok(stores.objects.get(&ObjectKey::model_weights(id)).await?)
    }

    /// Loads the model for so many images.
    async fn load(&self, connection: &ConnectionArgs, images: usize) -> Result<Classifier> {
        let weights = self.weights(connection).await?;
        let compute = device::choose_for(self.device, images)?;
        let classifier = Classifier::load(&weights, &compute.device);
        classifier.with_context(|| format!("{} can't be used as a model", self.model))
    }
}

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
        let classifier = self.model.load(&self.connection, images).await?;
        let files = files_by_class(&self.images, &classifier.card().classes)?;
        let evaluation =
            tokio::task::spawn_blocking(move || evaluate(&classifier, &files)).await??;
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
        let images = frozen.map_or(0, |frozen| {
            let counts = frozen.images.values().flat_map(|split| split.values());
            counts.sum::<u64>()
        });
        let compute = device::choose_for(
            self.model.device,
            usize::try_from(images).unwrap_or(usize::MAX),
        )?;
        let evaluation =
            maskline_trainer::evaluate(objects, catalog, &dataset, weights, compute).await?;
        if self.json {
            return output::print_json(&evaluation);
        }
        let heading = "accuracy".to_owned();
        output::print(evaluation_view::text(&[(heading, &evaluation)]))
    }
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

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

fn evaluate(classifier: &Classifier, files: &[(PathBuf, usize)]) -> Result<Evaluation> {
    let classes = classifier.card().classes.clone();
    let mut confusion = Confusion::new(classes.len());
    let mut tally = Tally::default();
    let mut skipped = vec![];
    for chunk in files
        .chunks(BATCH)
        .progress_with(bar(files.len().div_ceil(BATCH)))
    {
        let paths: Vec<&Path> = chunk.iter().map(|(path, _)| path.as_path()).collect();
        for ((path, class), predicted) in chunk.iter().zip(classify(classifier, &paths)?) {
            match predicted {
                Ok(prediction) => {
                    confusion.add(&prediction, *class);
                    tally.add(&prediction, *class);
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
    })
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  maskline predict model.safetensors me.jpg you.png")]
pub(crate) struct Predict {
    #[command(flatten)]
    model: ModelArgs,
    /// Image files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print each file's prediction as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What the model predicts for one file, as `--json` prints it.
#[derive(Debug, Serialize)]
struct PredictedFile<'a> {
    path: &'a Path,
    label: Option<&'a Label>,
    /// The probability of `label`, 0 to 1.
    confidence: Option<f32>,
    problem: Option<String>,
}

impl Predict {
    pub(crate) async fn run(self) -> Result<()> {
        let classifier = self.model.load(&self.connection, self.files.len()).await?;
        let classes = &classifier.card().classes;
        let mut problems = 0;
        for chunk in self.files.chunks(BATCH) {
            let paths: Vec<&Path> = chunk.iter().map(PathBuf::as_path).collect();
            for (path, predicted) in paths.iter().zip(classify(&classifier, &paths)?) {
                problems += usize::from(predicted.is_err());
                let file = match predicted {
                    Ok(prediction) => PredictedFile {
                        path,
                        label: classes.get(prediction.class()),
                        confidence: Some(prediction.confidence() as f32),
                        problem: None,
                    },
                    Err(problem) => PredictedFile {
                        path,
                        label: None,
                        confidence: None,
                        problem: Some(problem),
                    },
                };
                output::print(self.line(&file)?)?;
            }
        }
        if problems > 0 {
            bail!(
                "{problems} of {} files can't be read or are not images",
                self.files.len()
            );
        }
        Ok(())
    }

    fn line(&self, file: &PredictedFile) -> Result<String> {
        if self.json {
            return Ok(serde_json::to_string(file)?);
        }
        let path = file.path.display();
        Ok(match (file.label, &file.problem) {
            (Some(label), _) => format!("{path}: {label}, {}", percent(file.confidence)),
            (None, problem) => format!("{path}: {}", problem.as_deref().unwrap_or("no class")),
        })
    }
}

/// For each file the prediction, or why the file is not an image.
fn classify(classifier: &Classifier, paths: &[&Path]) -> Result<Vec<Result<Prediction, String>>> {
    let inputs: Vec<Result<Input, String>> = paths
        .par_iter()
        .map(|path| input(classifier, path))
        .collect();
    let mut predictions = classifier.predict(inputs.iter().flatten())?.into_iter();
    let predicted = |input: Result<Input, String>| {
        input.map(|_| predictions.next().expect("a prediction for each input"))
    };
    Ok(inputs.into_iter().map(predicted).collect())
}

fn input(classifier: &Classifier, path: &Path) -> Result<Input, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("can't be read: {error}"))?;
    let decoded = decode::decode(&bytes, &decode::Limits::default()).map_err(|r| r.to_string())?;
    Ok(classifier.input(&decoded.picture))
}

fn bar(steps: usize) -> indicatif::ProgressBar {
    // The bar hides itself if standard error is not a terminal.
    indicatif::ProgressBar::new(steps as u64)
}
