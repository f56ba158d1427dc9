//! `maskline predict`: what a model says about image files.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use image::RgbImage;
use maskline_foundation::{path_text, text::printable, walk};
use maskline_messages::{Bounds, Label, path_serde};
use maskline_models::{prediction::Prediction, weights::Card};
use serde::Serialize;

use super::model::{BATCH, Classified, ModelArgs};
use crate::{
    connection::ConnectionArgs,
    drawing,
    output::{self, percent},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maskline predict model.safetensors me.jpg you.png\n  \
                  maskline predict model.safetensors class.jpg --draw faces.png\n  \
                  maskline predict model.safetensors photos/ --draw drawn/ --json"
)]
pub(crate) struct Predict {
    #[command(flatten)]
    model: ModelArgs,
    /// Image files, and folders that are searched for images
    #[arg(required = true, value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Print each file's prediction, and that of every face in it, as one line of JSON
    #[arg(long)]
    json: bool,
    /// Draw the faces and what the model says about them: the drawing of one picture into this file,
    /// whose name ends in .png, or those of all into this folder, named after the pictures. A drawing
    /// has at most 2048 pixels a side
    #[arg(long, value_name = "OUT")]
    draw: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What a model says about a file, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    #[serde(with = "path_serde")]
    path: PathBuf,
    label: Option<Label>,
    /// The probability of `label`, 0 to 1.
    confidence: Option<f32>,
    /// Each face that was found, the best first. The label of the first is the picture's. If there
    /// is none, the label is that of the whole picture.
    faces: Vec<FaceAnswer>,
    problem: Option<String>,
}

/// What a model says about a face.
#[derive(Debug, Serialize)]
struct FaceAnswer {
    /// Left, top, width and height in pixels, as COCO has them. A face at the edge may reach beyond
    /// the picture.
    bbox: [f32; 4],
    /// How sure the detector is that this is a face, 0 to 1.
    score: f32,
    label: Label,
    /// The probability of `label`, 0 to 1.
    confidence: f32,
}

impl Answer {
    pub(super) fn new(path: &Path, classified: &Classified, card: &Card) -> Self {
        let label = |class: usize| card.classes[class].clone();
        let [width, height] = classified.size;
        let faces = classified
            .faces
            .iter()
            .map(|(face, prediction)| FaceAnswer {
                bbox: face.bounds.in_pixels(width, height),
                score: face.score,
                label: label(prediction.class()),
                confidence: prediction.confidence() as f32,
            });
        Self {
            path: path.to_owned(),
            label: Some(label(classified.prediction.class())),
            confidence: Some(classified.prediction.confidence() as f32),
            faces: faces.collect(),
            problem: None,
        }
    }

    fn of_problem(path: &Path, problem: String) -> Self {
        Self {
            path: path.to_owned(),
            label: None,
            confidence: None,
            faces: vec![],
            problem: Some(problem),
        }
    }

    /// A line for people, and one more for each face if there are several.
    fn text(&self) -> String {
        let path = path_text::shown(&self.path);
        let Some(label) = &self.label else {
            let problem = self.problem.as_deref();
            return format!("{path}: {}", printable(problem.unwrap_or("no class")));
        };
        let mut text = format!("{path}: {label}, {}", percent(self.confidence));
        if self.faces.is_empty() {
            text.push_str(", of the whole picture");
        }
        if self.faces.len() > 1 {
            for face in &self.faces {
                let [left, top, width, height] = face.bbox.map(|value| value.round());
                let (label, confidence) = (&face.label, percent(Some(face.confidence)));
                text.push_str(&format!(
                    "\n  face of {width} × {height} pixels at {left}, {top}: {label}, {confidence}"
                ));
            }
        }
        text
    }
}

impl Predict {
    pub(crate) async fn run(self) -> Result<()> {
        let found = self.files.iter().flat_map(|path| walk::files_at(path));
        let (files, unreadable): (Vec<_>, Vec<_>) =
            found.partition(|entry| entry.problem.is_none());
        let files: Vec<PathBuf> = files.into_iter().map(|entry| entry.path).collect();
        let model = self.model.load(&self.connection, files.len()).await?;
        let drawn = self.drawn_files(&files)?;
        let mut drawn = drawn.iter();
        let all = files.len() + unreadable.len();
        let mut problems = unreadable.len();
        for entry in unreadable {
            let problem = format!("can't be read: {}", entry.problem.unwrap_or_default());
            self.print(&Answer::of_problem(&entry.path, problem))?;
        }
        for chunk in files.chunks(BATCH) {
            let paths: Vec<&Path> = chunk.iter().map(PathBuf::as_path).collect();
            for (path, classified) in paths.iter().zip(model.classify(&paths).await?) {
                problems += usize::from(classified.is_err());
                let answer = match &classified {
                    Ok(classified) => Answer::new(path, classified, model.card()),
                    Err(problem) => Answer::of_problem(path, problem.clone()),
                };
                self.print(&answer)?;
                if let (Some(out), Ok(classified)) = (drawn.next(), &classified) {
                    let picture = model.read(path).await.map_err(anyhow::Error::msg);
                    let drawing = picture
                        .and_then(|picture| draw(picture.pixels, classified, model.card(), out));
                    let path = path_text::shown(path);
                    drawing.with_context(|| format!("{path} can't be drawn"))?;
                }
            }
        }
        if problems > 0 {
            bail!("{problems} of {all} files can't be read or are not images");
        }
        Ok(())
    }

    fn print(&self, answer: &Answer) -> Result<()> {
        match self.json {
            true => output::print_json(answer),
            false => output::print(answer.text()),
        }
    }

    /// The file that each picture is drawn into. There are none without `--draw`.
    ///
    /// # Errors
    /// If OUT is no place for the drawings. No picture is ever drawn over.
    fn drawn_files(&self, files: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let Some(out) = &self.draw else {
            return Ok(vec![]);
        };
        let ending = out.extension().unwrap_or_default().to_ascii_lowercase();
        let is_png = ending == "png" && !out.is_dir();
        if out.is_file() && !is_png || PICTURES.iter().any(|other| ending == *other) {
            bail!(
                "the drawings are PNG files: name a file that ends in .png or a folder, not {}",
                out.display()
            );
        }
        let pictures = files.iter().map(|file| same(file));
        let pictures: BTreeSet<PathBuf> = pictures.collect();
        if is_png {
            if files.len() > 1 {
                bail!(
                    "there are {} pictures: name a folder to draw them into, not the file {}",
                    files.len(),
                    out.display()
                );
            }
            if pictures.contains(&same(out)) {
                bail!("{} is the picture itself: name another file", out.display());
            }
            return Ok(vec![out.clone()]);
        }
        std::fs::create_dir_all(out)
            .with_context(|| format!("{} can't be made a folder", out.display()))?;
        let mut drawn: Vec<PathBuf> = Vec::with_capacity(files.len());
        let mut taken: HashSet<PathBuf> = HashSet::new();
        let mut numbers: HashMap<OsString, usize> = HashMap::new();
        for file in files {
            let name = file.file_name().unwrap_or(file.as_os_str()).to_owned();
            let number = numbers.entry(name.clone()).or_default();
            // Pictures of several folders may have the same name, and the folder may be that of the
            // pictures.
            let free = loop {
                *number += 1;
                let mut numbered = name.clone();
                numbered.push(match number {
                    1 => ".png".to_owned(),
                    _ => format!("-{number}.png"),
                });
                let path = out.join(numbered);
                if !pictures.contains(&same(&path)) && taken.insert(path.clone()) {
                    break path;
                }
            };
            drawn.push(free);
        }
        Ok(drawn)
    }
}

/// All of a picture.
const WHOLE: Bounds = Bounds {
    left: 0.0,
    top: 0.0,
    width: 1.0,
    height: 1.0,
};

/// Endings of names of pictures that a drawing can't have.
const PICTURES: [&str; 7] = ["jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"];

/// A path that is the same for all ways to write it, if there is such a file.
fn same(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn draw(picture: RgbImage, classified: &Classified, card: &Card, out: &Path) -> Result<()> {
    let labelled = |bounds, prediction: &Prediction| drawing::LabelledBox {
        bounds,
        class: prediction.class(),
        text: format!(
            "{} {}",
            card.classes[prediction.class()],
            percent(Some(prediction.confidence() as f32))
        ),
    };
    let faces = classified.faces.iter();
    let mut boxes: Vec<_> = faces
        .map(|(face, prediction)| labelled(face.bounds, prediction))
        .collect();
    if boxes.is_empty() {
        boxes.push(labelled(WHOLE, &classified.prediction));
    }
    let drawn = drawing::with_boxes(picture, &boxes);
    let format = image::ImageFormat::Png;
    drawn
        .save_with_format(out, format)
        .with_context(|| format!("{} can't be written", out.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        predict: Predict,
    }

    fn drawn(files: &[&Path], out: &Path) -> Result<Vec<PathBuf>> {
        let files = files.iter().map(|file| file.as_os_str());
        let flags = ["predict".as_ref(), "model".as_ref()];
        let flags = flags.into_iter().chain(files);
        let flags = flags.chain(["--draw".as_ref(), out.as_os_str()]);
        let predict = Flags::parse_from(flags).predict;
        predict.drawn_files(&predict.files)
    }

    #[test]
    fn no_picture_is_drawn_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a.jpg", "a.jpg.png", "b.png"] {
            std::fs::write(path(name), name).unwrap();
        }
        let (a, a_png, b) = (path("a.jpg"), path("a.jpg.png"), path("b.png"));
        assert_eq!(drawn(&[&a], &path("out.png")).unwrap(), [path("out.png")]);
        // The same picture, written in another way.
        let again = folder.path().join(".").join("b.png");
        let refused = drawn(&[&b], &again).unwrap_err().to_string();
        assert!(refused.contains("is the picture itself"), "{refused}");
        let beside = drawn(&[&a, &a_png, &a], folder.path()).unwrap();
        let names = ["a.jpg-2.png", "a.jpg.png.png", "a.jpg-3.png"];
        assert_eq!(beside, names.map(path));
    }

    #[test]
    fn drawings_go_into_a_png_file_or_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let a = path("a.jpg");
        // A folder that is not there yet is made, also for one picture.
        assert_eq!(drawn(&[&a], &path("new")).unwrap(), [path("new/a.jpg.png")]);
        assert!(path("new").is_dir());
        for (files, out, expected) in [
            (vec![a.as_path()], "out.jpg", "ends in .png"),
            (vec![&a, &a], "out.png", "there are 2 pictures"),
        ] {
            let refused = drawn(&files, &path(out)).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
        std::fs::write(path("notes"), "text").unwrap();
        let refused = drawn(&[&a], &path("notes")).unwrap_err().to_string();
        assert!(
            refused.contains("name a file that ends in .png"),
            "{refused}"
        );
    }
}
