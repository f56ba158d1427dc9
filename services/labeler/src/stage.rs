//! The stage: the class of an image, or why it has none; and which candidate
//! stands for an image that was found more than once.

use std::{num::NonZeroUsize, sync::Arc};

use anyhow::anyhow;
use async_trait::async_trait;
use lru::LruCache;
use maskline_messages::{
    Hop, How, ImageLabeled, ImageRejected, ImageValidated, JobId, Label, Message, Queue, Reason,
};
use maskline_runtime::{Context, Failure, Intake, Outcome, Stage};
use maskline_storage::catalog::{Images, Jobs};
use parking_lot::Mutex;

use crate::{NAME, model_check::ModelCheck};

/// Images labelled at a time, unless asked otherwise.
const IMAGES: usize = 8;

/// Jobs whose classes are remembered.
const JOBS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Gives images their class.
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
            classes: Mutex::new(LruCache::new(JOBS)),
        }
    }

    /// The classes that the job allows; none: whatever the source says.
    async fn classes(&self, id: JobId) -> Result<Arc<[Label]>, Failure> {
        if let Some(classes) = self.classes.lock().get(&id) {
            return Ok(classes.clone());
        }
        let job = self.jobs.job(id).await?;
        let job = job.ok_or_else(|| {
            Failure::poison(anyhow!(
                "job {id} is not in the catalog: is this the catalog that it was enqueued in?"
            ))
        })?;
        let classes: Arc<[Label]> = job.classes.into();
        self.classes.lock().put(id, classes.clone());
        Ok(classes)
    }
}

#[async_trait]
impl Stage for Labeler {
    fn name(&self) -> &'static str {
        NAME
    }

    fn intakes(&self) -> Vec<Intake> {
        vec![Intake {
            queue: Queue::LabelerImages,
            concurrency: IMAGES,
        }]
    }

    async fn handle(&self, message: Message, _context: &Context) -> Result<Outcome, Failure> {
        let Message::ImageValidated(mut validated) = message else {
            return Err(Failure::poison(anyhow!(
                "the labeler has no use for {}",
                message.key()
            )));
        };
        validated.fetched.history.push(Hop::now(NAME));
        let classes = self.classes(validated.fetched.job).await?;
        let label = match label(&validated, &classes) {
            Ok(label) => label,
            Err(reason) => return Ok(Outcome::send(rejection(validated, reason))),
        };
        // Only a candidate with a class may stand for its bytes: which of several
        // does must not decide whether the image is in the dataset.
        let fetched = &validated.fetched;
        let (job, candidate) = (fetched.job, fetched.candidate);
        let first = self
            .images
            .claim_image(job, &fetched.image, candidate)
            .await?;
        if first != candidate {
            let reason = Reason::ExactDuplicate { of: first };
            return Ok(Outcome::send(rejection(validated, reason)));
        }
        let opinion = match &self.model_check {
            Some(model_check) => model_check.predict(&validated, &label).await,
            None => None,
        };
        Ok(Outcome::send(ImageLabeled {
            validated,
            label,
            how: How::Source,
            opinion,
        }))
    }
}

/// What the source says, if the job knows such a class.
fn label(validated: &ImageValidated, classes: &[Label]) -> Result<Label, Reason> {
    let label = validated.fetched.label.clone().ok_or(Reason::NoLabel)?;
    if classes.is_empty() || classes.contains(&label) {
        return Ok(label);
    }
    Err(Reason::UnknownLabel {
        label,
        known: classes.to_vec(),
    })
}

fn rejection(validated: ImageValidated, reason: Reason) -> ImageRejected {
    let fetched = validated.fetched;
    ImageRejected {
        job: fetched.job,
        candidate: fetched.candidate,
        image: Some(fetched.image),
        stage: NAME.to_owned(),
        reason,
        history: fetched.history,
    }
}
