//! The trainer: trains networks on frozen datasets and publishes them with a report.
//!
//! Each module knows only those below it:
//!
//! ```text
//! stage       records a run for every requested network, and every study
//! worker      claims one piece of work at a time, and decides what an error means
//! tuning      the trials of a study, and what follows from their results
//! task        a piece of work; the one that publishes a model
//! resources   the stores and the device that all work needs
//! run         one run, from its dataset to a trained model
//! publish     publishes the trained model
//! report      the report, for programs and for people
//! checkpoint  what a run is resumed from
//! probe       the linear probe, on features of a pretrained network
//! regression  logistic regression
//! learner     the network in training, without any I/O
//! stored_model  measures a published model, for `maskline evaluate`
//! measurement how good a finished network is, on each split and for each source
//! sources     the sources of the images, as people know them
//! robustness  how good a network is on damaged pictures
//! by_faces    how good it is by the faces in the pictures
//! shortcut    how well the files alone tell the classes
//! evaluation  what the network predicts for images
//! metrics     the scores of every epoch
//! parts       batches that are more than a device has memory for
//! batches     batches of prepared images
//! mixing      images that are mixed with others
//! examples    the images of the dataset
//! shown       what a network is shown of an image: its face, or all of it
//! manifest    the dataset's manifest
//! schedule, random, interrupt, permanent_error
//! ```

mod args;
mod batches;
mod by_faces;
mod checkpoint;
mod evaluation;
mod examples;
#[cfg(test)]
mod fixtures;
mod interrupt;
mod learner;
mod manifest;
mod measurement;
mod metrics;
mod mixing;
mod parts;
mod permanent_error;
mod probe;
mod publish;
mod random;
mod regression;
mod report;
mod resources;
mod robustness;
mod run;
mod schedule;
mod shortcut;
mod shown;
mod sources;
mod stage;
mod stored_model;
mod task;
mod tuning;
mod worker;

pub use args::{Args, TrainerArgs, service};
pub use stored_model::evaluate;

/// Whether maskline comes with pretrained weights of a network.
pub fn has_pretrained(network: maskline_messages::NetworkName) -> bool {
    maskline_pretrained::backbone(network).is_some()
}

/// The service's name.
pub const NAME: &str = "trainer";
