//! What is said about a dataset beside its shards: the list of attributions and the card.

use std::collections::BTreeMap;

use anyhow::Result;
use maskline_dataset::{
    CardFacts, Example, Manifest, Tally, attribution_header, attribution_rows, card,
};
use maskline_messages::{DatasetId, ObjectKey, VersionName};
use maskline_storage::{ObjectStore, Upload};

/// A description that grows while the shards are written. Its memory is bounded.
pub(super) struct Description<'a> {
    attribution: Box<dyn Upload + 'a>,
    sources: Tally,
    licenses: Tally,
}

impl<'a> Description<'a> {
    pub(super) async fn begin(objects: &'a dyn ObjectStore, dataset: &DatasetId) -> Result<Self> {
        let key = ObjectKey::dataset_attribution(dataset);
        let mut attribution = objects.upload(&key).await?;
        attribution.write(attribution_header()).await?;
        Ok(Self {
            attribution,
            sources: Tally::default(),
            licenses: Tally::default(),
        })
    }

    /// Adds images in the order in which they are written.
    pub(super) async fn add(&mut self, examples: &[Example]) -> Result<()> {
        for example in examples {
            self.sources.add(example.provenance.source.as_deref());
            self.licenses.add(example.provenance.license.as_deref());
        }
        let rows = attribution_rows(examples);
        Ok(self.attribution.write(rows).await?)
    }

    /// Writes the list and the card, whose title is `version`. `rejected` counts the rejected
    /// candidates by reason.
    pub(super) async fn finish(
        self,
        objects: &dyn ObjectStore,
        version: &VersionName,
        manifest: &Manifest,
        rejected: &BTreeMap<String, u64>,
    ) -> Result<()> {
        self.attribution.finish().await?;
        let card = card(&CardFacts {
            name: &version.to_string(),
            manifest,
            sources: &self.sources,
            licenses: &self.licenses,
            rejected,
        });
        let key = ObjectKey::dataset_card(&manifest.dataset);
        Ok(objects.put(&key, card.into()).await?)
    }
}
