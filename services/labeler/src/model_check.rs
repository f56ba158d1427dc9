//! The model check asks the newest published model for its prediction of an image, which is
//! recorded beside the image's label.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use maskline_faces::FaceDetector;
use maskline_messages::{Face, ImageValidated, Label, ObjectKey, Prediction, RunId};
use maskline_models::{
    Classifier,
    device::{self, Choice},
};
use maskline_storage::{ObjectStore, catalog::Library};
use maskline_vision::{decode, view::Part};
use tokio::sync::Mutex;

/// How often the catalog is asked for a newer model.
const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// Asks the newest published model about images. The prediction is recorded and decides
/// nothing, so that no error here holds up an image.
pub struct ModelCheck {
    objects: Arc<dyn ObjectStore>,
    library: Arc<dyn Library>,
    newest: Mutex<NewestModel>,
}

#[derive(Default)]
struct NewestModel {
    /// When the catalog was last asked, even if that failed.
    asked: Option<Instant>,
    loaded: Option<(RunId, Arc<Model>)>,
}

/// A model that is ready to be asked.
struct Model {
    classifier: Classifier,
    /// For images whose faces the validator did not look for. `None` if the model is shown whole
    /// pictures.
    detector: Option<FaceDetector>,
}

impl ModelCheck {
    pub fn new(objects: Arc<dyn ObjectStore>, library: Arc<dyn Library>) -> Self {
        Self {
            objects,
            library,
            newest: Mutex::default(),
        }
    }

    /// Returns what the newest model predicts for the image, compared with its `label`. Returns
    /// `None` if no model is published or the model cannot be used, which is logged.
    pub async fn predict(&self, validated: &ImageValidated, label: &Label) -> Option<Prediction> {
        let predicted = self.try_predict(validated, label).await;
        predicted.unwrap_or_else(|error| {
            let image = validated.header.image;
            tracing::warn!(%image, error = format!("{error:#}"), "the model check failed");
            None
        })
    }

    async fn try_predict(
        &self,
        validated: &ImageValidated,
        label: &Label,
    ) -> Result<Option<Prediction>> {
        let Some((id, model)) = self.model().await? else {
            return Ok(None);
        };
        let jpeg = self.objects.get(&validated.normalized).await?;
        let faces = validated.measurements.faces.clone();
        let (class, confidence) =
            tokio::task::spawn_blocking(move || model.classify(&jpeg, faces)).await??;
        Ok(Some(Prediction {
            model: id,
            agrees: class == *label,
            label: class,
            confidence,
        }))
    }

    /// The newest model, which is loaded once.
    async fn model(&self) -> Result<Option<(RunId, Arc<Model>)>> {
        let mut newest = self.newest.lock().await;
        let is_due = |asked: Instant| asked.elapsed() > REFRESH_EVERY;
        if newest.asked.is_none_or(is_due) {
            newest.asked = Some(Instant::now());
            let model = self.library.models(1).await?.into_iter().next();
            let loaded = newest.loaded.as_ref().map(|(id, _)| *id);
            if let Some(model) = model.filter(|model| loaded != Some(model.id)) {
                let ready = self.load(model.id).await?;
                tracing::info!(model = %model.id, network = %model.network, "this model is asked from now on");
                newest.loaded = Some((model.id, Arc::new(ready)));
            }
        }
        Ok(newest.loaded.clone())
    }

    async fn load(&self, model: RunId) -> Result<Model> {
        let weights = self.objects.get(&ObjectKey::model_weights(model)).await?;
        let loading = tokio::task::spawn_blocking(move || {
            let compute = device::choose(Choice::Cpu)?;
            let classifier = Classifier::load(&weights, &compute.device)?;
            let detector = FaceDetector::for_view(classifier.card().view)?;
            anyhow::Ok(Model {
                classifier,
                detector,
            })
        });
        let loaded = loading.await?;
        loaded.with_context(|| format!("model {model} can't be used"))
    }
}

impl Model {
    /// The most probable class and its probability. `faces` is what the validator found, if it
    /// looked for faces.
    fn classify(&self, jpeg: &[u8], faces: Option<Vec<Face>>) -> Result<(Label, f32)> {
        let decoded = decode::decode(jpeg, &decode::Limits::default())
            .map_err(|reason| anyhow::anyhow!("the normalized image: {reason}"))?;
        let (picture, card) = (&decoded.picture, self.classifier.card());
        let found = || {
            self.detector
                .as_ref()
                .map(|detector| detector.detect(picture))
        };
        let faces = faces.or_else(found).unwrap_or_default();
        let part = Part::of(card.view, &faces, picture.width(), picture.height());
        let input = self.classifier.input(picture, &part);
        let prediction = self.classifier.predict([&input])?.remove(0);
        let class = card.classes[prediction.class()].clone();
        Ok((class, prediction.confidence() as f32))
    }
}
