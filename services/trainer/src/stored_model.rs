//! Measures a published model on a frozen dataset, for `maskline evaluate`.

use std::sync::Arc;

use anyhow::{Result, bail};
use bytes::Bytes;
use maskline_dataset::Split;
use maskline_messages::{DatasetId, Label};
use maskline_models::{ModelError, device::Compute, weights};
use maskline_storage::{ObjectStore, catalog::Jobs, records::Evaluation};
use tokio::runtime::Handle;

use crate::{
    evaluation::Evaluator,
    examples,
    interrupt::Interrupt,
    manifest,
    measurement::{Measurement, StoredDataset},
    shown::InputShape,
};

/// The number of images that are computed at a time.
const BATCH: usize = 32;

/// Measures a model, a safetensors file, on the validation and the test split of a dataset, and
/// for each source. `jobs` knows the names of the sources.
///
/// # Errors
/// If the dataset is missing or damaged, or has other classes than the model.
pub async fn evaluate(
    objects: &Arc<dyn ObjectStore>,
    jobs: &dyn Jobs,
    dataset: &DatasetId,
    model: Bytes,
    compute: Compute,
) -> Result<Evaluation> {
    let manifest = manifest::read(objects, dataset).await?;
    let card = weights::card(&model)?;
    if card.classes != manifest.classes {
        bail!(
            "the model knows the classes {}, and the dataset has {}: take a model that was trained \
             on a dataset with the same classes",
            list(&card.classes),
            list(&manifest.classes)
        );
    }
    let input = InputShape::from(&card);
    let compute = compute.for_pixels(card.pixels);
    let (objects, runtime) = (objects.clone(), Handle::current());
    let measuring = move || {
        let (network, _) = weights::from_safetensors(&model, &compute.device)?;
        let dataset = StoredDataset {
            objects: &objects,
            manifest: &manifest,
            runtime: &runtime,
        };
        let evaluator = Evaluator {
            threads: &examples::image_threads()?,
            input,
            batch: BATCH,
            device: &compute.device,
            interrupt: &Interrupt::default(),
        };
        let measure = |split| {
            let measured = dataset.measure(split, &network, card.temperature, &evaluator)?;
            let measured = measured.expect("nobody requests the interrupt");
            if !measured.is_finite() {
                bail!(ModelError::NotANumber);
            }
            anyhow::Ok(measured)
        };
        let test = match manifest.images(Split::Test) {
            0 => None,
            _ => Some(measure(Split::Test)?),
        };
        let validation = measure(Split::Validation)?;
        anyhow::Ok(Measurement { validation, test })
    };
    let measurement = tokio::task::spawn_blocking(measuring).await??;
    Ok(measurement.evaluation(&card.classes, jobs).await?)
}

fn list(classes: &[Label]) -> String {
    let classes: Vec<&str> = classes.iter().map(Label::as_str).collect();
    classes.join(", ")
}
