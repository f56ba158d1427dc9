//! The model of `maskline evaluate` and `predict`: its flags, and what it says about image files.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Error, Result, anyhow};
use bytes::Bytes;
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use maskline_faces::FaceDetector;
use maskline_messages::{Face, ObjectKey};
use maskline_models::{
    Classifier, Input, ModelError,
    device::{self, Choice, Compute},
    prediction::Prediction,
    weights::{self, Card},
};
use maskline_vision::view::Part;
use tokio::task::spawn_blocking;

use crate::{
    connection::ConnectionArgs,
    decoding::{FilePicture, SandboxedDecoder},
    lookup,
};

/// The number of files that are read and classified at a time.
pub(super) const BATCH: usize = 32;

/// The model, and the device that it computes on.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// The id of a model or its beginning, or a safetensors file
    model: String,
    /// The device to compute on: auto (a GPU if there is one and there are many images), gpu (the
    /// one that the drivers recommend), gpu:N (that of the number N, counted from 0) or cpu
    #[arg(long, env = "MASKLINE_DEVICE", default_value_t = Choice::Auto)]
    device: Choice,
}

impl ModelArgs {
    /// Reads the model's file, or what was published in the stores, and its card.
    pub(super) async fn read(&self, connection: &ConnectionArgs) -> Result<(Bytes, Card)> {
        let weights = self.weights(connection).await?;
        let card = self.card(&weights)?;
        Ok((weights, card))
    }

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

    /// Reads the card of the model. If it is a file without one, the error says how to make a model of
    /// weights.
    fn card(&self, weights: &[u8]) -> Result<Card> {
        weights::card(weights).map_err(|error| {
            let has_no_card = matches!(error, ModelError::Unreadable(_) | ModelError::NoCard)
                && Path::new(&self.model).is_file();
            let error = Error::from(error).context(self.unusable());
            match has_no_card {
                true => anyhow!(
                    "{error:#}. If it has weights only, as PyTorch's files do, `maskline train \
                     COLLECTION --network NAME --from '{}'` trains a model from it",
                    self.model
                ),
                false => error,
            }
        })
    }

    fn unusable(&self) -> String {
        format!("{} can't be used as a model", self.model)
    }

    /// Opens the device for so many images.
    pub(super) fn compute(&self, connection: &ConnectionArgs, images: usize) -> Result<Compute> {
        // Here no data folder is made where there is none.
        let data = connection.data();
        if data.is_dir() {
            device::keep_kernels_in(&data.join(device::KERNELS));
        }
        Ok(device::choose_for(self.device, images)?)
    }

    /// Loads the model for so many images.
    pub(super) async fn load(&self, connection: &ConnectionArgs, images: usize) -> Result<Model> {
        let (weights, card) = self.read(connection).await?;
        let compute = self.compute(connection, images)?.for_pixels(card.pixels);
        let classifier = Classifier::load(&weights, &compute.device);
        let classifier = classifier.with_context(|| self.unusable())?;
        let detector = FaceDetector::for_view(classifier.card().view)?;
        Ok(Model {
            network: Arc::new(Network {
                classifier,
                detector,
            }),
            decoder: SandboxedDecoder::new(),
        })
    }
}

/// A model that is ready to be asked.
pub(super) struct Model {
    network: Arc<Network>,
    decoder: SandboxedDecoder,
}

struct Network {
    classifier: Classifier,
    /// `None` if the model is shown whole pictures.
    detector: Option<FaceDetector>,
}

/// What a model says about a picture.
#[derive(Debug)]
pub(super) struct Classified {
    /// The width and the height of the upright picture in its file, in pixels.
    pub(super) size: [u32; 2],
    /// Every face that was found, the best first, with what the model says about it.
    pub(super) faces: Vec<(Face, Prediction)>,
    /// What the model says about the part of the picture that it was trained to be shown: about its
    /// best face, or about all of it if no face was found or the model is shown whole pictures.
    pub(super) prediction: Prediction,
}

/// A picture as it is given to a model.
struct Prepared {
    size: [u32; 2],
    /// The best first.
    faces: Vec<Face>,
    /// One for each face, and one for the picture if that is none of them.
    inputs: Vec<Input>,
    /// The index of the picture's own.
    own: usize,
}

impl Model {
    pub(super) fn card(&self) -> &Card {
        self.network.classifier.card()
    }

    /// For each file what the model says, or why the file is not an image.
    pub(super) async fn classify(
        &self,
        paths: &[&Path],
    ) -> Result<Vec<Result<Classified, String>>> {
        let prepared = stream::iter(paths)
            .map(|path| self.prepare(path))
            // While some are decoded, the faces in others are looked for.
            .buffered(2 * self.decoder.workers())
            .try_collect();
        let (network, prepared) = (self.network.clone(), prepared.await?);
        let classified = spawn_blocking(move || network.classify(prepared)).await?;
        classified.map_err(with_device_advice)
    }

    /// Reads a picture, or says why it is none.
    pub(super) async fn read(&self, path: &Path) -> Result<FilePicture, String> {
        self.decoder.read(path).await
    }

    /// Reads a picture and finds its faces, or says why it is none.
    async fn prepare(&self, path: &Path) -> Result<Result<Prepared, String>> {
        let network = self.network.clone();
        Ok(match self.read(path).await {
            Ok(picture) => Ok(spawn_blocking(move || network.prepare(&picture)).await?),
            Err(problem) => Err(problem),
        })
    }
}

/// Says what to do if the device has no memory.
fn with_device_advice(error: Error) -> Error {
    let lacks_memory = matches!(error.downcast_ref(), Some(ModelError::DeviceMemory(_)));
    match lacks_memory {
        true => anyhow!("{error}; compute on the CPU, with --device cpu"),
        false => error,
    }
}

impl Network {
    fn classify(
        &self,
        prepared: Vec<Result<Prepared, String>>,
    ) -> Result<Vec<Result<Classified, String>>> {
        let inputs = prepared.iter().flatten().flat_map(|file| &file.inputs);
        let mut predictions = self.classifier.predict(inputs)?.into_iter();
        let mut classified = |file: Prepared| {
            let all = predictions.by_ref().take(file.inputs.len());
            let all: Vec<Prediction> = all.collect();
            Classified {
                size: file.size,
                prediction: all[file.own].clone(),
                faces: file.faces.into_iter().zip(all).collect(),
            }
        };
        let files = prepared.into_iter();
        Ok(files.map(|file| file.map(&mut classified)).collect())
    }

    fn prepare(&self, FilePicture { pixels, size }: &FilePicture) -> Prepared {
        let (width, height) = pixels.dimensions();
        let found = |detector: &FaceDetector| detector.detect(pixels);
        let mut faces = self.detector.as_ref().map(found).unwrap_or_default();
        Face::sort(&mut faces, width, height);
        let view = self.classifier.card().view;
        let mut parts: Vec<Part> = faces
            .iter()
            .map(|face| Part::of_shown(view, Some(&face.bounds), width, height))
            .collect();
        let part = Part::of(view, &faces, width, height);
        let own = parts.iter().position(|of_face| *of_face == part);
        let own = own.unwrap_or_else(|| {
            parts.push(part);
            parts.len() - 1
        });
        let inputs = parts.iter();
        let inputs = inputs.map(|part| self.classifier.input(pixels, part));
        Prepared {
            size: *size,
            inputs: inputs.collect(),
            own,
            faces,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_weights_only_is_refused_with_the_way_to_a_model() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights.pth");
        let args = |model: &Path| ModelArgs {
            model: model.display().to_string(),
            device: Choice::Auto,
        };
        let advice = "`maskline train COLLECTION --network NAME --from '";
        // A zip archive as PyTorch writes it, and a safetensors file without any metadata.
        for (bytes, problem) in [
            (&b"PK\x03\x04 and more"[..], "not a safetensors file"),
            (
                &b"\x08\0\0\0\0\0\0\0{}      "[..],
                "doesn't say what network",
            ),
        ] {
            std::fs::write(&file, bytes).unwrap();
            let refused = format!("{:#}", args(&file).card(bytes).unwrap_err());
            for expected in ["weights.pth can't be used as a model", problem, advice] {
                assert!(refused.contains(expected), "{refused}");
            }
            // Nobody can train from a published model that is damaged.
            let published = args(Path::new("0195")).card(bytes).unwrap_err();
            assert!(!format!("{published:#}").contains(advice), "{published:#}");
        }
    }

    #[test]
    fn a_device_without_memory_is_reported_with_another_device() {
        let no_memory = ModelError::DeviceMemory("out of device memory".into());
        let advised = format!("{:#}", with_device_advice(no_memory.into()));
        assert!(advised.ends_with("with --device cpu"), "{advised}");
        let other = format!("{:#}", with_device_advice(ModelError::NotANumber.into()));
        assert!(!other.contains("--device cpu"), "{other}");
    }
}
