//! The stage. It gives an image its label or says why it has none, and decides which
//! candidate stands for an image that was found more than once.

use std::{num::NonZeroUsize, sync::Arc};

use async_trait::async_trait;
use lru::LruCache;
use maskline_messages::{ImageLabeled, ImageValidated, JobId, Label, LabelOrigin, Reason};
use maskline_runtime::{Context, Failure, Handler, Outcome};
use maskline_storage::{
    catalog::{Images, Jobs},
    job_of_message,
};
use parking_lot::Mutex;

use crate::{NAME, model_check::ModelCheck};

/// How many images are labelled at a time, unless `--concurrency` says otherwise.
const DEFAULT_CONCURRENCY: usize = 8;

/// The number of jobs whose classes are remembered.
const REMEMBERED_JOBS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Gives images their label.
pub struct Labeler {
    jobs: Arc<dyn Jobs>,
    images: Arc<dyn Images>,
    /// `None` if no model is to be asked.
    model_check: Option<ModelCheck>,
    /// A job's classes never change.
    classes: Mutex<LruCache<JobId, Arc<[Label]>>>,
}

impl Labeler {
    pub fn new(
        jobs: Arc<dyn Jobs>,
        images: Arc<dyn Images>,
        model_check: Option<ModelCheck>,
    ) -> Self {
        Self {
            jobs,
            images,
            model_check,
            classes: Mutex::new(LruCache::new(REMEMBERED_JOBS)),
        }
    }

    /// The classes that the job allows. If there are none, it allows every label.
    async fn classes(&self, id: JobId) -> Result<Arc<[Label]>, Failure> {
        if let Some(classes) = self.classes.lock().get(&id) {
            return Ok(classes.clone());
        }
        let job = job_of_message(&*self.jobs, id).await?;
        let classes: Arc<[Label]> = job.classes.into();
        self.classes.lock().put(id, classes.clone());
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
        let classes = self.classes(validated.header.job).await?;
        let label = match label(&validated, &classes) {
            Ok(label) => label,
            Err(reason) => return Ok(Outcome::send(validated.header.reject(NAME, reason))),
        };
        // Only a candidate with a label may stand for its bytes. Otherwise it would depend
        // on the order of the candidates whether the image is in the dataset.
        let header = &validated.header;
        let first = self
            .images
            .claim_image(header.job, &header.image, header.candidate)
            .await?;
        if first != header.candidate {
            let reason = Reason::ExactDuplicate { of: first };
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

/// The label that the source gives, if the job allows it.
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
