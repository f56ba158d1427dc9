//! A type for each queue, which says which messages the queue carries. A handler takes that
//! type, so that it can't be given any other message.

use crate::{
    image::{
        CandidateFound, ImageFailed, ImageFetched, ImageLabeled, ImageRejected, ImageValidated,
    },
    job::{JobFailed, SourceExpanded, SourceRequested},
    message::Message,
    topology::Queue,
    training::{DatasetReady, ModelTrained, TrainingRequested},
    tuning::TuningRequested,
};

/// Everything that one queue carries: one message type, or an enum of several.
///
/// `try_from` returns a message that the queue does not carry as the error.
pub trait QueueMessage: TryFrom<Message, Error = Message> + Send + 'static {
    const QUEUE: Queue;
    /// The routing keys of these messages, which are bound to the queue.
    const KEYS: &'static [&'static str];
}

/// Queues that carry one type of message.
macro_rules! one_message {
    ($($name:ident => $queue:ident),* $(,)?) => {
        $(impl QueueMessage for $name {
            const QUEUE: Queue = Queue::$queue;
            const KEYS: &'static [&'static str] = &[$name::KEY];
        })*
    };
}

one_message! {
    SourceRequested => ScraperSources,
    CandidateFound => ScraperCandidates,
    ImageFetched => ValidatorImages,
    ImageValidated => LabelerImages,
}

/// A queue that carries several types of message. The enum has the queue's name.
macro_rules! several_messages {
    ($(#[$doc:meta])* $queue:ident { $($name:ident),* $(,)? }) => {
        $(#[$doc])*
        // A message is moved a few times in its life, and there is one at a time.
        #[allow(clippy::large_enum_variant)]
        #[derive(Debug, Clone, PartialEq)]
        pub enum $queue {
            $($name($name)),*
        }

        $(impl From<$name> for $queue {
            fn from(message: $name) -> Self {
                Self::$name(message)
            }
        })*

        impl TryFrom<Message> for $queue {
            type Error = Message;

            fn try_from(message: Message) -> Result<Self, Message> {
                match message {
                    $(Message::$name(message) => Ok(Self::$name(message)),)*
                    other => Err(other),
                }
            }
        }

        impl QueueMessage for $queue {
            const QUEUE: Queue = Queue::$queue;
            const KEYS: &'static [&'static str] = &[$($name::KEY),*];
        }
    };
}

several_messages! {
    /// The outcomes of candidates.
    StorerImages { ImageLabeled, ImageRejected, ImageFailed }
}

several_messages! {
    /// The reports about jobs and models.
    StorerJobs { SourceExpanded, JobFailed, ModelTrained }
}

several_messages! {
    /// The requests to train and to tune.
    TrainerRequests { DatasetReady, TrainingRequested, TuningRequested }
}

impl Queue {
    /// The routing keys bound to the queue. Every key has exactly one queue.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::ScraperSources => SourceRequested::KEYS,
            Self::ScraperCandidates => CandidateFound::KEYS,
            Self::ValidatorImages => ImageFetched::KEYS,
            Self::LabelerImages => ImageValidated::KEYS,
            Self::StorerImages => StorerImages::KEYS,
            Self::StorerJobs => StorerJobs::KEYS,
            Self::TrainerRequests => TrainerRequests::KEYS,
        }
    }

    /// The queue that a routing key leads to.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|queue| queue.keys().contains(&key))
    }
}
