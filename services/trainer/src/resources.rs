//! What all work of a trainer needs.

use std::sync::Arc;

use maskline_models::device::Compute;
use maskline_storage::{
    ObjectStore,
    catalog::{Jobs, Leases, Library, Studies},
    lease::LeaseProgress,
    records::Run,
};

use crate::{interrupt::Interrupt, run::TrainingRun};

/// The stores, and the device to train on.
#[derive(Clone)]
pub(crate) struct Resources {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) library: Arc<dyn Library>,
    pub(crate) studies: Arc<dyn Studies>,
    pub(crate) jobs: Arc<dyn Jobs>,
    /// New work is offered here.
    pub(crate) leases: Arc<dyn Leases>,
    pub(crate) compute: Compute,
    /// The memory that decoded images may take, in bytes.
    pub(crate) image_memory: u64,
}

impl Resources {
    /// A run with all that it needs.
    pub(crate) fn training(
        &self,
        record: Run,
        interrupt: &Interrupt,
        lease_progress: LeaseProgress,
    ) -> TrainingRun {
        TrainingRun {
            objects: self.objects.clone(),
            library: self.library.clone(),
            jobs: self.jobs.clone(),
            record,
            compute: self.compute.clone(),
            image_memory: self.image_memory,
            interrupt: interrupt.clone(),
            lease_progress,
            is_trial: false,
        }
    }
}
