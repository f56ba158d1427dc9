//! Validates images in worker processes, where a file that is made to do harm can do none.

use std::time::Duration;

use bytes::Bytes;
use maskline_faces::FaceDetector;
use maskline_messages::{Measurements, Reason};
use maskline_sandbox::{Failed, Limits, Place, Pool, Role, Room, Work, parts};
use maskline_vision::decode;
use serde::{Deserialize, Serialize};

use crate::{
    faces::FaceArgs,
    limits::LimitArgs,
    validate::{Rejected, decoder_limits, validate},
};

/// What a worker does. The `main` function of a program that validates images gives it to
/// [`maskline_sandbox::serve_if_worker`].
pub static WORKER: Role = Role {
    name: "validate",
    start,
};

/// What an image may take beside the memory of its decoder, which its header tells. The bounds are
/// wide, so that a sound picture on a slow machine stays far below them.
const COSTS: Limits = Limits {
    claimed: 0,
    unclaimed: 32 << 20,
    processor_time: Duration::from_secs(10),
    time: Duration::from_secs(60),
    answer: 4 << 20,
};

/// What is wanted of an accepted image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The measurements alone, which takes less time.
    Measurements,
    /// The normalized picture, too.
    WithPicture,
}

/// An image that passed all checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalized {
    /// The normalized picture as a JPEG, or nothing if it was not asked for.
    pub jpeg: Bytes,
    /// The width of the normalized picture in pixels.
    pub width: u32,
    pub height: u32,
    pub measurements: Measurements,
}

/// Validates images in worker processes, one for each core.
#[derive(Clone)]
pub struct SandboxedValidator(Pool);

/// What a worker begins with.
#[derive(Serialize, Deserialize)]
struct Setup {
    limits: LimitArgs,
    faces: FaceArgs,
    answer: Answer,
}

/// The answer of a worker. The normalized JPEG comes beside it.
#[derive(Serialize, Deserialize)]
enum Verdict {
    Accepted {
        width: u32,
        height: u32,
        measurements: Measurements,
    },
    Rejected(Rejected),
}

impl SandboxedValidator {
    /// Workers that check images against `limits`.
    pub fn new(limits: &LimitArgs, faces: &FaceArgs, answer: Answer) -> Self {
        Self::in_place(limits, faces, answer, Place::default())
    }

    /// Like [`new`](Self::new), with the place where the work is done.
    pub fn in_place(limits: &LimitArgs, faces: &FaceArgs, answer: Answer, place: Place) -> Self {
        let costs = Limits {
            claimed: decoder_limits(limits).memory,
            ..COSTS
        };
        Self::with_costs(limits, faces, answer, place, costs)
    }

    /// Like [`in_place`](Self::in_place), with bounds on what an image may take.
    pub fn with_costs(
        limits: &LimitArgs,
        faces: &FaceArgs,
        answer: Answer,
        place: Place,
        costs: Limits,
    ) -> Self {
        let setup = Setup {
            limits: limits.clone(),
            faces: faces.clone(),
            answer,
        };
        let setup = serde_json::to_vec(&setup).expect("flags can be written as JSON");
        Self(Pool::new(&WORKER, setup, costs, place))
    }

    /// The number of images that are validated at the same time.
    pub fn workers(&self) -> usize {
        self.0.workers()
    }

    /// Starts a worker, so that an error comes before the first image.
    ///
    /// # Errors
    /// Like those of [`validate`](Self::validate).
    pub async fn warm_up(&self) -> Result<(), Failed> {
        self.0.warm_up().await
    }

    /// The verdict on the bytes of an image, with a reason if they take too much or make the
    /// decoder crash. If the future is dropped, the image is given up.
    ///
    /// # Errors
    /// If no worker can be started. That is no fault of the image.
    pub async fn validate(&self, bytes: Bytes) -> Result<Result<Normalized, Rejected>, Failed> {
        let reason = match self.0.ask(bytes).await {
            Ok(answer) => match parts::split(answer) {
                Ok((verdict, jpeg)) => return Ok(verdict_with(verdict, jpeg)),
                // A worker of ours answers nothing else.
                Err(_) => Reason::DecoderCrashed { signal: None },
            },
            Err(Failed::TooCostly(limit)) => Reason::TooCostly {
                limit: limit.to_string(),
            },
            Err(Failed::Crashed { signal }) => Reason::DecoderCrashed { signal },
            Err(failed @ Failed::NotStarted(_)) => return Err(failed),
        };
        Ok(Err(Rejected {
            reason,
            measurements: None,
        }))
    }
}

fn verdict_with(verdict: Verdict, jpeg: Vec<u8>) -> Result<Normalized, Rejected> {
    match verdict {
        Verdict::Accepted {
            width,
            height,
            measurements,
        } => Ok(Normalized {
            jpeg: jpeg.into(),
            width,
            height,
            measurements,
        }),
        Verdict::Rejected(rejected) => Err(rejected),
    }
}

/// The worker itself.
struct Worker {
    limits: LimitArgs,
    /// `None` if faces are not looked for.
    detector: Option<FaceDetector>,
    answer: Answer,
}

fn start(setup: &[u8]) -> Result<Box<dyn Work>, String> {
    let setup: Setup = serde_json::from_slice(setup).map_err(|error| error.to_string())?;
    let detector = setup.faces.detector();
    Ok(Box::new(Worker {
        limits: setup.limits,
        detector: detector.map_err(|error| format!("{error:#}"))?,
        answer: setup.answer,
    }))
}

impl Work for Worker {
    fn answer(&mut self, request: &[u8], room: &mut dyn Room) -> Vec<u8> {
        room.claim(decode::memory(request, &decoder_limits(&self.limits)));
        let accepted = match validate(request, &self.limits, self.detector.as_ref()) {
            Ok(accepted) => accepted,
            Err(rejected) => return parts::join(&Verdict::Rejected(rejected), &[]),
        };
        let jpeg = match self.answer {
            Answer::Measurements => vec![],
            Answer::WithPicture => accepted.jpeg(),
        };
        let verdict = Verdict::Accepted {
            width: accepted.picture.width(),
            height: accepted.picture.height(),
            measurements: accepted.measurements,
        };
        parts::join(&verdict, &jpeg)
    }
}
