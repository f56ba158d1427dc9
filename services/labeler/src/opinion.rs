//! What the published model thinks of an image.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use maskline_messages::{ImageValidated, Label, ObjectKey, Opinion, RunId};
use maskline_models::{
    classifier::Classifier,
    device::{self, Choice},
};
use maskline_storage::{ObjectStore, catalog::Library};
use maskline_vision::{decode, planes, resize};
use tokio::sync::Mutex;

/// How often the catalog is asked for a newer model.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Asks the newest published model. It advises and never decides, so nothing
/// that goes wrong here holds an image up.
pub struct Adviser {
    objects: Arc<dyn ObjectStore>,
    library: Arc<dyn Library>,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// When the catalog was last asked, whatever came of it.
    looked: Option<Instant>,
    newest: Option<(RunId, Arc<Classifier>)>,
}

impl Adviser {
    pub fn new(objects: Arc<dyn ObjectStore>, library: Arc<dyn Library>) -> Self {
        Self {
            objects,
            library,
            current: Mutex::default(),
        }
    }

    /// `None` where no model is published, or none that can be asked.
    pub async fn opinion(&self, validated: &ImageValidated, label: &Label) -> Option<Opinion> {
        let asked = self.ask(validated, label).await;
        asked.unwrap_or_else(|error| {
            let image = validated.fetched.image;
            tracing::warn!(%image, error = format!("{error:#}"), "no second opinion");
            None
        })
    }

    async fn ask(&self, validated: &ImageValidated, label: &Label) -> Result<Option<Opinion>> {
        let Some((model, classifier)) = self.classifier().await? else {
            return Ok(None);
        };
        let jpeg = self.objects.get(&validated.normalized).await?;
        let (class, confidence) =
            tokio::task::spawn_blocking(move || judge(&classifier, &jpeg)).await??;
        Ok(Some(Opinion {
            model,
            agrees: class == *label,
            label: class,
            confidence,
        }))
    }

    /// The newest model, loaded once.
    async fn classifier(&self) -> Result<Option<(RunId, Arc<Classifier>)>> {
        let mut current = self.current.lock().await;
        if current.looked.is_none_or(|at| at.elapsed() > LOOK_EVERY) {
            current.looked = Some(Instant::now());
            let newest = self.library.models(1).await?.into_iter().next();
            let known = current.newest.as_ref().map(|(id, _)| *id);
            if let Some(model) = newest.filter(|model| known != Some(model.id)) {
                let classifier = self.load(model.id).await?;
                tracing::info!(model = %model.id, network = %model.network, "asking this model");
                current.newest = Some((model.id, Arc::new(classifier)));
            }
        }
        Ok(current.newest.clone())
    }

    async fn load(&self, model: RunId) -> Result<Classifier> {
        let weights = self.objects.get(&ObjectKey::model_weights(model)).await?;
        let loading = tokio::task::spawn_blocking(move || {
            let compute = device::choose(Choice::Cpu)?;
            Classifier::load(&weights, &compute.device)
        });
        let loaded = loading.await?;
        loaded.with_context(|| format!("model {model} can't be used"))
    }
}

/// The most probable class and its probability.
fn judge(classifier: &Classifier, jpeg: &[u8]) -> Result<(Label, f32)> {
    let card = classifier.card();
    let decoded = decode::decode(jpeg, &decode::Limits::default())
        .map_err(|reason| anyhow::anyhow!("the normalized image: {reason}"))?;
    let side = card.pixels;
    let mut input = vec![0.0; 3 * (side * side) as usize];
    planes::write_chw(&resize::square(&decoded.picture, side), &mut input);
    let probabilities = classifier.probabilities(input, 1).remove(0);
    let best = probabilities
        .into_iter()
        .zip(&card.classes)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let (confidence, class) = best.context("the model knows no class")?;
    Ok((class.clone(), confidence))
}
