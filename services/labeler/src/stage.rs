//! The stage. It gives an image its label or says why it has none, and decides which
//! candidate stands for an image that was found more than once.

use std::{num::NonZeroUsize, sync::Arc};

use async_trait::async_trait;
use lru::LruCache;
use maskline_messages::{CollectionName, ImageLabeled, ImageValidated, Label, LabelOrigin, Reason};
use maskline_runtime::{Context, Failure, Handler, Outcome};
use maskline_storage::{
    catalog::{Collections, Images},
    collection_of_message,
    records::Claim,
};
use parking_lot::Mutex;

use crate::{NAME, model_check::ModelCheck};

/// How many images are labelled at a time, unless `--concurrency` says otherwise.
const DEFAULT_CONCURRENCY: usize = 8;

/// The number of collections whose classes are remembered.
const REMEMBERED_COLLECTIONS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Gives images their label.
pub struct Labeler {
    collections: Arc<dyn Collections>,
    images: Arc<dyn Images>,
    /// `None` if no model is to be asked.
    model_check: Option<ModelCheck>,
    /// A collection's classes never change.
    classes: Mutex<LruCache<CollectionName, Arc<[Label]>>>,
}

impl Labeler {
    pub fn new(
        collections: Arc<dyn Collections>,
        images: Arc<dyn Images>,
        model_check: Option<ModelCheck>,
    ) -> Self {
        Self {
            collections,
            images,
            model_check,
            classes: Mutex::new(LruCache::new(REMEMBERED_COLLECTIONS)),
        }
    }

    /// The classes that the collection allows. If there are none, it allows every label.
    async fn classes(&self, name: &CollectionName) -> Result<Arc<[Label]>, Failure> {
        if let Some(classes) = self.classes.lock().get(name) {
            return Ok(classes.clone());
        }
        let collection = collection_of_message(&*self.collections, name).await?;
        let classes: Arc<[Label]> = collection.classes.into();
        self.classes.lock().put(name.clone(), classes.clone());
        Ok(classes)
    }
}

#[async_trait]
impl Handler for Labeler {
    type Message = ImageValidated;

    fn concurrency(&self) -> usize {
        DEFAULT_CONCURRENCY
    }

    async fn handle(
        &self,
        mut validated: ImageValidated,
        _context: &Context,
    ) -> Result<Outcome, Failure> {
        validated.header.arrived_at(NAME);
        let classes = self.classes(&validated.header.collection).await?;
        let label = match label(&validated, &classes) {
            Ok(label) => label,
            Err(reason) => return Ok(Outcome::send(validated.header.reject(NAME, reason))),
        };
        // Only a candidate with a label may stand for its bytes. Otherwise it would depend
        // on the order of the candidates whether the image is in the dataset.
        let header = &validated.header;
        let claim = self
            .images
            .claim_image(&header.collection, &header.image, header.candidate)
            .await?;
        let refused = match claim {
            Claim::Held(holder) if holder == header.candidate => None,
            Claim::Held(holder) => Some(Reason::ExactDuplicate { of: holder }),
            Claim::Removed => Some(Reason::Removed),
        };
        if let Some(reason) = refused {
            return Ok(Outcome::send(validated.header.reject(NAME, reason)));
        }
        let prediction = match &self.model_check {
            Some(model_check) => model_check.predict(&validated, &label).await,
            None => None,
        };
        Ok(Outcome::send(ImageLabeled {
            header: validated.header,
            location: validated.location,
            normalized: validated.normalized,
            width: validated.width,
            height: validated.height,
            measurements: validated.measurements,
            label,
            label_origin: LabelOrigin::Source,
            prediction,
        }))
    }
}

/// The label that the source gives, if the collection allows it.
fn label(validated: &ImageValidated, classes: &[Label]) -> Result<Label, Reason> {
    let label = validated.label.clone().ok_or(Reason::NoLabel)?;
    if classes.is_empty() || classes.contains(&label) {
        return Ok(label);
    }
    Err(Reason::UnknownLabel {
        label,
        known: classes.to_vec(),
    })
}
