//! What a card says.

use std::collections::BTreeMap;

use crate::{manifest::Manifest, tally::Tally};

/// What a card says. Equal facts make equal cards.
#[derive(Debug, Clone, Copy)]
pub struct CardFacts<'a> {
    /// The dataset's name for people.
    pub name: &'a str,
    pub manifest: &'a Manifest,
    /// The images of all splits by source.
    pub sources: &'a Tally,
    /// The images of all splits by licence.
    pub licenses: &'a Tally,
    /// How many candidates were rejected, by [`Reason::code`](maskline_messages::Reason::code).
    pub rejected: &'a BTreeMap<String, u64>,
}
