//! What a file of weights says about its network.

use std::collections::{BTreeSet, HashMap};

use maskline_messages::{Label, NetworkName, PIXELS, View};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize, de::Error as _};

use crate::{error::ModelError, input::Standardization, table::table, temperature::Temperature};

/// The entry of the file's metadata with the card as JSON. There is only one entry,
/// because several would be written in a random order, and the same weights must give the
/// same file.
const CARD: &str = "maskline";

/// The description that a program needs to use the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    pub network: NetworkName,
    /// The name of each class, in the order of the logits.
    pub classes: Vec<Label>,
    /// The width and the height of the images that the network was trained on.
    pub pixels: u32,
    /// What the network was shown of a picture.
    #[serde(default = "View::of_earlier_builds")]
    pub view: View,
    /// How the network standardizes its input.
    #[serde(default)]
    pub input: Standardization,
    /// Whether its logits are the mean of those for an image and of those for its mirror image.
    #[serde(default)]
    pub mirror_image: bool,
    /// What its logits are divided by before they become probabilities.
    #[serde(default)]
    pub temperature: Temperature,
}

impl Card {
    /// The card of a network with the standardization of its table, which is shown no mirror images
    /// and whose logits stay as they are.
    pub fn new(network: NetworkName, classes: Vec<Label>, pixels: u32, view: View) -> Self {
        Self {
            network,
            classes,
            pixels,
            view,
            input: table(network).input,
            mirror_image: false,
            temperature: Temperature::ONE,
        }
    }

    /// Checks what a program computes with, because a file may come from anywhere. The error says
    /// which value is unusable.
    fn check(&self) -> Result<(), String> {
        if !PIXELS.contains(&self.pixels) {
            return Err(format!(
                "its input has a side of {} pixels, and {} to {} are possible",
                self.pixels,
                PIXELS.start(),
                PIXELS.end()
            ));
        }
        if self.classes.is_empty() {
            return Err("it has no classes".to_owned());
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.classes.iter().find(|&class| !seen.insert(class)) {
            return Err(format!("it has the class {twice} twice"));
        }
        self.input.check()
    }

    /// The metadata of a file.
    pub(super) fn metadata(&self) -> HashMap<String, String> {
        let card = serde_json::to_string(self).expect("names and numbers are JSON");
        HashMap::from([(CARD.to_owned(), card)])
    }
}

/// Reads the card of a file.
///
/// # Errors
/// If the file is not a safetensors file, or has no card, or one with values that no network can
/// have.
pub fn card(bytes: &[u8]) -> Result<Card, ModelError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let metadata = header.metadata().as_ref();
    let card = metadata.and_then(|metadata| metadata.get(CARD));
    let card: Card =
        serde_json::from_str(card.ok_or(ModelError::NoCard)?).map_err(ModelError::BadCard)?;
    let unusable = |problem| ModelError::BadCard(serde_json::Error::custom(problem));
    card.check().map_err(unusable)?;
    Ok(card)
}

/// The same file with another card. The tensors stay as they are.
///
/// # Errors
/// [`ModelError::Unreadable`] if the file is not a safetensors file.
pub fn with_card(bytes: &[u8], card: &Card) -> Result<Vec<u8>, ModelError> {
    let tensors = SafeTensors::deserialize(bytes)?;
    Ok(safetensors::serialize(
        tensors.iter(),
        Some(card.metadata()),
    )?)
}
