//! The names of our spans, of their attributes and of their events: written here once,
//! for those who record them and for those who read them in Jaeger.
//!
//! Names that OpenTelemetry's conventions know come from
//! `opentelemetry-semantic-conventions`; [`attribute`] repeats those that we read.

/// Names of spans.
pub mod span {
    /// A message is published. In a trace the queue's name follows: see [`of_queue`].
    pub const SEND: &str = "send";
    /// One attempt at a message. In a trace the queue's name follows: see [`of_queue`].
    pub const PROCESS: &str = "process";
    /// A worker does a piece of leased work. A trace shows the work's own name.
    pub const WORK: &str = "work";
    /// A job's sources are published.
    pub const ENQUEUE: &str = "enqueue";
    /// A job's images become a dataset.
    pub const FREEZE: &str = "freeze";
    /// A network is trained.
    pub const TRAIN: &str = "train";
    /// One rung of a trial of a study is trained.
    pub const TRIAL: &str = "trial";
    /// One epoch of a training run.
    pub const EPOCH: &str = "epoch";
    /// One operation of the catalog. A trace shows the operation's own name.
    pub const CATALOG: &str = "catalog";
    /// One request to the object store. A trace shows the request's own name.
    pub const OBJECTS: &str = "objects";
    /// One HTTP request of the scraper.
    pub const GET: &str = "GET";

    /// The name that a trace shows for [`SEND`] or [`PROCESS`]: `process validator.images`.
    pub fn of_queue(operation: &str, queue: &str) -> String {
        format!("{operation} {queue}")
    }
}

/// Keys of attributes of spans and events.
pub mod attribute {
    pub use opentelemetry_semantic_conventions::attribute::{
        AWS_S3_KEY, EXCEPTION_MESSAGE, HTTP_RESPONSE_STATUS_CODE, URL_FULL,
    };

    /// The collection that a span is about.
    pub const COLLECTION: &str = "maskline.collection";
    /// The job that a span is about.
    pub const JOB_ID: &str = "maskline.job.id";
    /// The candidate that a span is about.
    pub const CANDIDATE_ID: &str = "maskline.candidate.id";
    /// The dataset that a training run learns from.
    pub const DATASET_ID: &str = "maskline.dataset.id";
    /// The training run.
    pub const RUN_ID: &str = "maskline.run.id";
    /// The study that tunes a network.
    pub const STUDY_ID: &str = "maskline.study.id";
    /// The number of a trial in its study, from 0 on.
    pub const TRIAL: &str = "maskline.trial";
    /// The number of a rung, from 0 on.
    pub const RUNG: &str = "maskline.rung";
    /// The network that is trained.
    pub const NETWORK: &str = "maskline.network";

    /// The service that handles a message.
    pub const STAGE: &str = "maskline.stage";
    /// Which attempt at a message this is, from 1 on.
    pub const ATTEMPT: &str = "maskline.attempt";
    /// Seconds until the next attempt.
    pub const RETRY_AFTER_SECONDS: &str = "maskline.retry.after_seconds";

    /// What a message waits for whose turn has not come.
    pub const POSTPONED_REASON: &str = "maskline.postponed.reason";

    /// The code of the reason for which an image was rejected.
    pub const REJECTION_REASON: &str = "maskline.rejection.reason";
    /// The reason as a sentence.
    pub const REJECTION_DETAIL: &str = "maskline.rejection.detail";

    /// The number of a training epoch, from 1 on.
    pub const EPOCH: &str = "maskline.epoch";
    /// The learning rate at the epoch's end.
    pub const LEARNING_RATE: &str = "maskline.learning_rate";
    /// The mean loss over the training images.
    pub const TRAINING_LOSS: &str = "maskline.training.loss";
    /// The mean loss over the validation images.
    pub const VALIDATION_LOSS: &str = "maskline.validation.loss";
    /// The share of validation images that were classified rightly, 0 to 1.
    pub const VALIDATION_ACCURACY: &str = "maskline.validation.accuracy";
    /// Training images per second.
    pub const IMAGES_PER_SECOND: &str = "maskline.images_per_second";

    // `tracing-opentelemetry` reads these fields, and does not export them as attributes.

    /// The name that a trace shows in place of the span's.
    pub const OTEL_NAME: &str = "otel.name";
    /// `ERROR` if the span failed.
    pub const OTEL_STATUS_CODE: &str = "otel.status_code";
    /// Why the span failed.
    pub const OTEL_STATUS_DESCRIPTION: &str = "otel.status_description";
}

/// Names of events of spans.
pub mod event {
    /// What failed, by OpenTelemetry's conventions.
    pub const EXCEPTION: &str = "exception";
    /// An image was rejected.
    pub const REJECTED: &str = "rejected";
    /// The turn of the message has not come, so it will come again.
    pub const POSTPONED: &str = "postponed";
    /// The message will be tried again.
    pub const RETRY: &str = "retry";
}
