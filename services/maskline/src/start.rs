//! `--from`: what the weights of a network begin from.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use maskline_messages::{Method, NetworkName, ObjectKey, Start, WeightsId};
use maskline_models::{weights, weights_file};
use maskline_storage::Stores;

use crate::lookup;

/// What `--from` names.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A word, or the id of weights that are stored.
    Known(Start),
    /// The weights in a file or of a published model, as a safetensors file.
    Weights { from: String, bytes: Bytes },
}

/// The start that a word or an id stands for. `None` if it is the name of a file or of a model.
pub(crate) fn of_word(text: &str) -> Option<Start> {
    text.parse().ok()
}

impl Origin {
    /// Reads what `from` names: a word, the id of weights, a file or a published model.
    ///
    /// # Errors
    /// If there is no such file and no such model.
    pub(crate) async fn read(from: &str, stores: &Stores) -> Result<Self> {
        match of_word(from) {
            Some(start) => Ok(Self::Known(start)),
            None => Ok(Self::Weights {
                from: from.to_owned(),
                bytes: bytes(from, stores).await?,
            }),
        }
    }

    /// The network that the weights are of, if they are those of a model.
    pub(crate) fn network(&self) -> Option<NetworkName> {
        match self {
            Self::Known(_) => None,
            Self::Weights { bytes, .. } => weights::card(bytes).ok().map(|card| card.network),
        }
    }

    /// The start of `methods`. Weights of a file or a model are checked for the network of each, and
    /// stored.
    ///
    /// # Errors
    /// If one of the networks can't begin from this.
    pub(crate) async fn start(self, methods: &[Method], stores: &Stores) -> Result<Start> {
        let networks: Vec<NetworkName> = methods.iter().map(|method| method.network()).collect();
        match self {
            Self::Known(start) => {
                check_known(start, &networks, stores).await?;
                Ok(start)
            }
            Self::Weights { from, bytes } => {
                let weights = bytes.clone();
                let checking = move || {
                    networks.into_iter().try_for_each(|network| {
                        let checked = weights::check(&weights, network);
                        checked.with_context(|| format!("{network} can't begin from {from}"))
                    })
                };
                tokio::task::spawn_blocking(checking).await??;
                let id = WeightsId::of(&bytes);
                stores.objects.put(&ObjectKey::weights(&id), bytes).await?;
                Ok(Start::Stored(id))
            }
        }
    }
}

async fn check_known(start: Start, networks: &[NetworkName], stores: &Stores) -> Result<()> {
    match start {
        Start::Scratch => {}
        Start::Pretrained => {
            let mut networks = networks.iter();
            let lacking = networks.find(|&&network| !maskline_trainer::has_pretrained(network));
            if let Some(network) = lacking {
                bail!(
                    "maskline comes with no pretrained weights of {network}: bring some with \
                     --from FILE. `maskline weights list` says where torchvision has them"
                );
            }
        }
        Start::Stored(id) => {
            if stores
                .objects
                .size(&ObjectKey::weights(&id))
                .await?
                .is_none()
            {
                bail!("no weights with the id {id} are stored: give their file");
            }
        }
    }
    Ok(())
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
