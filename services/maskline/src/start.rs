//! `--from`: what the weights of a network begin from.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use maskline_messages::{Method, ObjectKey, Start, WeightsId};
use maskline_models::{
    device::{self, Choice},
    weights, weights_file,
};
use maskline_storage::Stores;

use crate::lookup;

/// The start that a word or an id stands for. `None` if it is the name of a file or of a model.
pub(crate) fn of_word(text: &str) -> Option<Start> {
    text.parse().ok()
}

/// The start that `from` names: a word, the id of weights that are stored, a file, or a published
/// model. What is in a file or a model is checked for each network, and stored.
///
/// # Errors
/// If there is no such file and no such model, or if it is not of one of the networks.
pub(crate) async fn resolved(from: &str, methods: &[Method], stores: &Stores) -> Result<Start> {
    let mut networks = methods.iter().map(|method| method.network());
    match of_word(from) {
        Some(Start::Pretrained) => {
            let lacking = networks.find(|&network| !maskline_trainer::has_pretrained(network));
            return match lacking {
                Some(network) => bail!(
                    "maskline comes with no pretrained weights of {network}: bring some with \
                     --from FILE. `maskline weights list` says where torchvision has them"
                ),
                None => Ok(Start::Pretrained),
            };
        }
        Some(Start::Stored(id)) => {
            let key = ObjectKey::weights(&id);
            if stores.objects.size(&key).await?.is_none() {
                bail!("no weights with the id {id} are stored: give their file");
            }
            return Ok(Start::Stored(id));
        }
        Some(Start::Scratch) => return Ok(Start::Scratch),
        None => {}
    }
    let bytes = bytes(from, stores).await?;
    let device = device::choose(Choice::Cpu)?.device;
    for network in networks {
        let read = weights::backbone(&bytes, network, 2, 0, &device);
        read.with_context(|| format!("{network} can't begin from {from}"))?;
    }
    let id = WeightsId::of(&bytes);
    let key = ObjectKey::weights(&id);
    stores.objects.put(&key, bytes).await?;
    Ok(Start::Stored(id))
}

/// The weights as a safetensors file.
async fn bytes(from: &str, stores: &Stores) -> Result<Bytes> {
    let path = Path::new(from);
    if path.is_dir() {
        bail!("{from} is a folder: name a file of weights or a model");
    }
    if path.is_file() {
        let path = path.to_owned();
        let reading = move || weights_file::read(&path);
        return Ok(tokio::task::spawn_blocking(reading).await??.into());
    }
    let models = stores.catalog.models(lookup::ALL).await?;
    let ids = models.into_iter().map(|model| model.id);
    let id = lookup::by_prefix(from, "model", "maskline models", ids)
        .context("neither a file of weights nor a published model")?;
    Ok(stores.objects.get(&ObjectKey::model_weights(id)).await?)
}
