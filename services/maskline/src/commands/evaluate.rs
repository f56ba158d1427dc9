//! `maskline evaluate`: how good a model is on the images of a folder or of a dataset.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::Cell;
use indicatif::ProgressIterator;
use maskline_dataset::Split;
use maskline_foundation::{path_text, text::printable, walk};
use maskline_messages::{Label, path_serde};
use maskline_models::prediction::{Confusion, Tally};
use maskline_storage::records::Dataset;
use serde::Serialize;

use super::{
    model::{BATCH, Model, ModelArgs},
    predict::Answer,
};
use crate::{
    connection::ConnectionArgs,
    evaluation_view, lookup,
    output::{self, number},
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
    /// The 95 % confidence interval of the accuracy.
    interval: [f64; 2],
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
    #[serde(with = "path_serde")]
    path: PathBuf,
    problem: String,
}

impl Evaluate {
    pub(crate) async fn run(self) -> Result<()> {
        if !self.images.exists() {
            return self.run_on_dataset().await;
        }
        let images = walk::files_at(&self.images).count();
        let model = self.model.load(&self.connection, images).await?;
        let (files, unreadable) = files_by_class(&self.images, &model.card().classes)?;
        let evaluation = evaluate(&model, &files, unreadable).await?;
        if self.json {
            return output::print_json(&evaluation);
        }
        for skipped in &evaluation.skipped {
            let (path, problem) = (path_text::shown(&skipped.path), printable(&skipped.problem));
            output::note(format!("{path}: skipped: {problem}"));
        }
        output::print(format!(
            "{} images, accuracy {}, loss {:.4}",
            evaluation.images,
            evaluation_view::with_interval(
                evaluation.accuracy as f32,
                evaluation.interval.map(|share| share as f32)
            ),
            evaluation.loss
        ))?;
        output::print(evaluation_view::IN_BRACKETS)?;
        output::print(confusion_table(&evaluation))
    }

    /// Measures the model on the images of a frozen dataset that no network is trained on.
    async fn run_on_dataset(self) -> Result<()> {
        let name = self.images.to_string_lossy();
        let stores = self.connection.stores().await?;
        let (objects, catalog) = (&stores.objects, stores.catalog.as_ref());
        let dataset = lookup::dataset(catalog, &name).await;
        let dataset = dataset.context("neither a folder nor a dataset")?;
        let (weights, _) = self.model.read(&self.connection).await?;
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

/// A file, and the index of its class.
type ClassedFile = (PathBuf, usize);

/// The files in the folder, sorted by path, each with the index of its class, which is that of the
/// nearest folder that is called like a class. And those that can't be read, or are in no folder.
fn files_by_class(folder: &Path, classes: &[Label]) -> Result<(Vec<ClassedFile>, Vec<Skipped>)> {
    let shown = path_text::shown(folder);
    if folder.is_file() {
        bail!(
            "{shown} is a file, and evaluate takes a folder with a folder of images for each class: \
             maskline predict classifies single files"
        );
    }
    let root = folder.canonicalize().unwrap_or_default();
    let root = root.file_name().unwrap_or_default();
    let (mut files, mut skipped) = (vec![], vec![]);
    for entry in walk::files_at(folder) {
        let (path, mut problem) = (entry.path, entry.problem);
        let below = path.strip_prefix(folder).ok().and_then(Path::parent);
        let folders = below.into_iter().flat_map(Path::ancestors);
        let folders = folders.filter_map(Path::file_name);
        let folders: Vec<_> = folders.chain([root]).map(OsStr::to_string_lossy).collect();
        let class = Label::by_folders(&folders, classes);
        if class.is_none() && problem.is_none() {
            match &folders[..] {
                [nearest, _, ..] => {
                    let known: Vec<&str> = classes.iter().map(Label::as_str).collect();
                    bail!(
                        "the model knows no class {} ({}): rename the folder or move it away",
                        printable(nearest),
                        known.join(", ")
                    );
                }
                _ => problem = Some("it is in no folder of a class".to_owned()),
            }
        }
        match (class, problem) {
            (Some(class), None) => {
                let class = classes.iter().position(|known| known == class);
                files.extend(class.map(|class| (path, class)));
            }
            (_, problem) => skipped.push(Skipped {
                path,
                problem: problem.unwrap_or_default(),
            }),
        }
    }
    if files.is_empty() {
        bail!("{shown} holds no folder of images for a class");
    }
    Ok((files, skipped))
}

/// Classifies the files. `skipped` are those that can't even be read.
async fn evaluate(
    model: &Model,
    files: &[ClassedFile],
    mut skipped: Vec<Skipped>,
) -> Result<Evaluation> {
    let classes = model.card().classes.clone();
    let mut confusion = Confusion::new(classes.len());
    let mut tally = Tally::default();
    let mut evaluated = vec![];
    for chunk in files
        .chunks(BATCH)
        .progress_with(bar(files.len().div_ceil(BATCH)))
    {
        let paths: Vec<&Path> = chunk.iter().map(|(path, _)| path.as_path()).collect();
        for ((path, class), classified) in chunk.iter().zip(model.classify(&paths).await?) {
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
        interval: tally.interval().into(),
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

#[cfg(test)]
mod tests {
    use std::os::unix::{ffi::OsStrExt, fs::symlink};

    use super::*;

    #[test]
    fn files_of_a_class_lie_anywhere_below_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let odd = path("a").join(OsStr::from_bytes(b"3\xff.jpg"));
        for folder in ["a/x/y", "b", "a/.ipynb_checkpoints"] {
            std::fs::create_dir_all(path(folder)).unwrap();
        }
        let hidden = path("a/.ipynb_checkpoints/1.jpg");
        let found = [path("a/1.jpg"), odd, path("a/x/y/2.jpg"), path("b/4.jpg")];
        for file in found.iter().chain([&hidden, &path("5.jpg")]) {
            std::fs::write(file, "").unwrap();
        }
        symlink("../a/1.jpg", path("b/within.jpg")).unwrap();
        symlink(outside.path(), path("b/without")).unwrap();
        let classes = ["a", "b"].map(|class| class.parse().unwrap());
        let (files, skipped) = files_by_class(root.path(), &classes).unwrap();
        let [one, odd, two, four] = found;
        let expected = [
            (one, 0),
            (odd.clone(), 0),
            (two, 0),
            (four, 1),
            (path("b/within.jpg"), 1),
        ];
        assert_eq!(files, expected);
        let named: Vec<_> = skipped.iter().map(|file| file.path.clone()).collect();
        assert_eq!(named, [path("5.jpg"), path("b/without")]);
        let json = serde_json::to_string(&Skipped {
            path: odd,
            problem: String::new(),
        });
        assert!(json.unwrap().contains("a/3%FF.jpg"));

        let (files, _) = files_by_class(&path("a"), &classes).unwrap();
        assert_eq!(files.len(), 3, "the folder itself is a class");
        std::fs::create_dir(path("c")).unwrap();
        std::fs::write(path("c/1.jpg"), "").unwrap();
        let error = files_by_class(root.path(), &classes).unwrap_err();
        assert!(error.to_string().contains("no class c (a, b)"), "{error}");
    }
}
