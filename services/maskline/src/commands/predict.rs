//! `maskline predict`: what a model says about image files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use maskline_messages::Label;
use maskline_models::weights::Card;
use serde::Serialize;

use super::model::{self, BATCH, Classified, ModelArgs};
use crate::{
    connection::ConnectionArgs,
    drawing,
    output::{self, percent},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  maskline predict model.safetensors me.jpg you.png\n  \
                  maskline predict model.safetensors class.jpg --draw faces.png"
)]
pub(crate) struct Predict {
    #[command(flatten)]
    model: ModelArgs,
    /// Image files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print each file's prediction, and that of every face in it, as one line of JSON
    #[arg(long)]
    json: bool,
    /// Draw the faces and what the model says about them: into this PNG file if there is one
    /// picture, or else into this folder, with the name of each picture and .png at its end
    #[arg(long, value_name = "OUT")]
    draw: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What a model says about a file, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    path: PathBuf,
    label: Option<Label>,
    /// The probability of `label`, 0 to 1.
    confidence: Option<f32>,
    /// Each face that was found, the best first. The label of the first is the picture's.
    faces: Vec<FaceAnswer>,
    problem: Option<String>,
}

/// What a model says about a face.
#[derive(Debug, Serialize)]
struct FaceAnswer {
    /// Left, top, width and height in pixels, as COCO has them.
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
        let path = self.path.display();
        let Some(label) = &self.label else {
            let problem = self.problem.as_deref();
            return format!("{path}: {}", problem.unwrap_or("no class"));
        };
        let mut text = format!("{path}: {label}, {}", percent(self.confidence));
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
        let model = self.model.load(&self.connection, self.files.len()).await?;
        let drawn = self.drawn_files()?;
        let mut drawn = drawn.iter();
        let mut problems = 0;
        for chunk in self.files.chunks(BATCH) {
            let paths: Vec<&Path> = chunk.iter().map(PathBuf::as_path).collect();
            for (path, classified) in paths.iter().zip(model.classify(&paths)?) {
                problems += usize::from(classified.is_err());
                let answer = match &classified {
                    Ok(classified) => Answer::new(path, classified, model.card()),
                    Err(problem) => Answer::of_problem(path, problem.clone()),
                };
                if let (Some(out), Ok(classified)) = (drawn.next(), &classified) {
                    draw(path, classified, model.card(), out)?;
                }
                match self.json {
                    true => output::print_json(&answer)?,
                    false => output::print(answer.text())?,
                }
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

    /// The file that each picture is drawn into. There are none without `--draw`.
    fn drawn_files(&self) -> Result<Vec<PathBuf>> {
        let Some(out) = &self.draw else {
            return Ok(vec![]);
        };
        if self.files.len() == 1 && !out.is_dir() {
            return Ok(vec![out.clone()]);
        }
        std::fs::create_dir_all(out)
            .with_context(|| format!("{} can't be made a folder", out.display()))?;
        let mut drawn: Vec<PathBuf> = vec![];
        for file in &self.files {
            let name = file.file_name().unwrap_or(file.as_os_str()).to_owned();
            let numbered = (1..).map(|number| {
                let mut name = name.clone();
                name.push(match number {
                    1 => ".png".to_owned(),
                    _ => format!("-{number}.png"),
                });
                out.join(name)
            });
            // Pictures of several folders may have the same name.
            let mut free = numbered.filter(|path| !drawn.contains(path));
            drawn.extend(free.next());
        }
        Ok(drawn)
    }
}

fn draw(path: &Path, classified: &Classified, card: &Card, out: &Path) -> Result<()> {
    let picture = model::read(path).map_err(anyhow::Error::msg)?;
    let boxes = classified
        .faces
        .iter()
        .map(|(face, prediction)| drawing::LabelledBox {
            bounds: face.bounds,
            class: prediction.class(),
            text: format!(
                "{} {}",
                card.classes[prediction.class()],
                percent(Some(prediction.confidence() as f32))
            ),
        });
    let drawn = drawing::with_boxes(picture, &boxes.collect::<Vec<_>>());
    let format = image::ImageFormat::Png;
    drawn
        .save_with_format(out, format)
        .with_context(|| format!("{} can't be written", out.display()))
}
