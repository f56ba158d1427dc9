//! `maskline evaluate` and `predict`: a model on files of one's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::Cell;
use indicatif::ProgressIterator;
use maskline_messages::{Label, ObjectKey};
use maskline_models::{
    classifier::Classifier,
    device::{self, Choice},
};
use maskline_vision::{decode, planes, resize};
use rayon::prelude::*;
use serde::Serialize;
use walkdir::WalkDir;

use crate::{
    connection::ConnectionArgs,
    lookup,
    output::{self, number, percent},
};

/// Files that are read and classified at a time.
const BATCH: usize = 32;

/// The least probability that a loss is taken of: a model that is sure of the
/// wrong class must not make the mean infinite.
const LEAST: f64 = 1e-7;

/// Which model, and where it computes.
#[derive(Debug, Args)]
struct ModelArgs {
    /// A model's id, or its beginning, or a safetensors file
    model: String,
    /// Where to compute: auto, gpu or cpu
    #[arg(long, env = "MASKLINE_DEVICE", default_value_t = Choice::Auto)]
    device: Choice,
}

impl ModelArgs {
    /// From the file, or from the stores where it was published.
    async fn load(&self, connection: &ConnectionArgs) -> Result<Classifier> {
        let weights = if Path::new(&self.model).is_file() {
            std::fs::read(&self.model)
                .with_context(|| format!("{} can't be read", self.model))?
                .into()
        } else {
            let stores = connection.stores().await?;
            let models = stores.catalog.models(lookup::ALL).await?;
            let ids = models.into_iter().map(|model| model.id);
            let id = lookup::by_prefix(&self.model, "model", "maskline models", ids)
                .context("neither a safetensors file nor a published model")?;
            let key = ObjectKey::model_weights(id);
            stores.objects.get(&key).await?
        };
        let compute = device::choose(self.device)?;
        let classifier = Classifier::load(&weights, &compute.device);
        classifier.with_context(|| format!("{} is no model of ours", self.model))
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  maskline evaluate 0195 photos/    (photos/with_mask/…, photos/without_mask/…)"
)]
pub struct Evaluate {
    #[command(flatten)]
    model: ModelArgs,
    /// A folder with one folder of images for each class
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// How well a model did; what `--json` prints.
#[derive(Debug, Serialize)]
struct Evaluation {
    /// Images that were classified.
    images: u64,
    accuracy: f64,
    /// Mean cross-entropy, in nats.
    loss: f64,
    classes: Vec<Label>,
    /// A row for each true class, a column for each class that was predicted.
    confusion: Vec<Vec<u64>>,
    /// Files that can't be read or are no images.
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    path: PathBuf,
    problem: String,
}

impl Evaluate {
    pub async fn run(self) -> Result<()> {
        let classifier = self.model.load(&self.connection).await?;
        let files = files_by_class(&self.dir, &classifier.card().classes)?;
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
}

fn confusion_table(evaluation: &Evaluation) -> comfy_table::Table {
    let classes = evaluation.classes.iter().map(Label::as_str);
    let headings: Vec<String> = classes
        .clone()
        .map(|class| format!("said {class}"))
        .collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = output::table(&[&["is"], headings.as_slice()].concat());
    for (class, row) in classes.zip(&evaluation.confusion) {
        let counts = row.iter().map(number);
        table.add_row(std::iter::once(Cell::new(class)).chain(counts));
    }
    table
}

/// Each file with the index of its class, sorted by path.
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
    let mut confusion = vec![vec![0; classes.len()]; classes.len()];
    let mut skipped = vec![];
    let mut loss = 0.0;
    for chunk in files
        .chunks(BATCH)
        .progress_with(bar(files.len().div_ceil(BATCH)))
    {
        let paths: Vec<&Path> = chunk.iter().map(|(path, _)| path.as_path()).collect();
        for ((path, class), said) in chunk.iter().zip(classify(classifier, &paths)) {
            match said {
                Ok(probabilities) => {
                    confusion[*class][best(&probabilities)] += 1;
                    loss -= f64::from(probabilities[*class]).max(LEAST).ln();
                }
                Err(problem) => skipped.push(Skipped {
                    path: path.clone(),
                    problem,
                }),
            }
        }
    }
    let images: u64 = confusion.iter().flatten().sum();
    if images == 0 {
        bail!("none of the {} files is an image", files.len());
    }
    let right: u64 = confusion
        .iter()
        .enumerate()
        .map(|(class, row)| row[class])
        .sum();
    Ok(Evaluation {
        images,
        accuracy: right as f64 / images as f64,
        loss: loss / images as f64,
        classes,
        confusion,
        skipped,
    })
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  maskline predict model.safetensors me.jpg you.png")]
pub struct Predict {
    #[command(flatten)]
    model: ModelArgs,
    /// Images
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// One JSON object a line, a line a file
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What the model says of one file.
#[derive(Debug, Serialize)]
struct Prediction<'a> {
    path: &'a Path,
    label: Option<&'a Label>,
    /// Softmax probability of `label`, 0 to 1.
    confidence: Option<f32>,
    problem: Option<String>,
}

impl Predict {
    pub async fn run(self) -> Result<()> {
        let classifier = self.model.load(&self.connection).await?;
        let classes = &classifier.card().classes;
        let mut problems = 0;
        for chunk in self.files.chunks(BATCH) {
            let paths: Vec<&Path> = chunk.iter().map(PathBuf::as_path).collect();
            for (path, said) in paths.iter().zip(classify(&classifier, &paths)) {
                problems += usize::from(said.is_err());
                let prediction = match said {
                    Ok(probabilities) => {
                        let class = best(&probabilities);
                        Prediction {
                            path,
                            label: classes.get(class),
                            confidence: Some(probabilities[class]),
                            problem: None,
                        }
                    }
                    Err(problem) => Prediction {
                        path,
                        label: None,
                        confidence: None,
                        problem: Some(problem),
                    },
                };
                output::print(self.line(&prediction)?)?;
            }
        }
        if problems > 0 {
            bail!(
                "{problems} of {} files can't be read or are no images",
                self.files.len()
            );
        }
        Ok(())
    }

    fn line(&self, prediction: &Prediction) -> Result<String> {
        if self.json {
            return Ok(serde_json::to_string(prediction)?);
        }
        let path = prediction.path.display();
        Ok(match (prediction.label, &prediction.problem) {
            (Some(label), _) => format!("{path}: {label}, {}", percent(prediction.confidence)),
            (None, problem) => format!("{path}: {}", problem.as_deref().unwrap_or("no class")),
        })
    }
}

/// The probabilities by class for each file, or why it is no image.
fn classify(classifier: &Classifier, paths: &[&Path]) -> Vec<Result<Vec<f32>, String>> {
    let side = classifier.card().pixels;
    let inputs: Vec<Result<Vec<f32>, String>> =
        paths.par_iter().map(|path| input(path, side)).collect();
    let good: Vec<f32> = inputs.iter().flatten().flatten().copied().collect();
    let images = inputs.iter().flatten().count();
    let mut said = match images {
        0 => vec![],
        images => classifier.probabilities(good, images),
    }
    .into_iter();
    let answer = |input: Result<Vec<f32>, String>| {
        input.map(|_| said.next().expect("an answer for each image"))
    };
    inputs.into_iter().map(answer).collect()
}

fn input(path: &Path, side: u32) -> Result<Vec<f32>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("can't be read: {error}"))?;
    let decoded = decode::decode(&bytes, &decode::Limits::default()).map_err(|r| r.to_string())?;
    let mut planes = vec![0.0; 3 * (side * side) as usize];
    planes::write_chw(&resize::square(&decoded.picture, side), &mut planes);
    Ok(planes)
}

/// The index of the largest.
fn best(probabilities: &[f32]) -> usize {
    let largest = probabilities
        .iter()
        .enumerate()
        .max_by(|(_, a), (_, b)| a.total_cmp(b));
    largest.map_or(0, |(index, _)| index)
}

fn bar(steps: usize) -> indicatif::ProgressBar {
    // Hidden where standard error is no terminal.
    indicatif::ProgressBar::new(steps as u64)
}
