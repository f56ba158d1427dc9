//! A service: its intakes, its workers and its probes.

use std::sync::Arc;

pub use maskline_foundation::Probe;

use crate::{
    intake::Intake,
    stage::{Handler, Worker},
};

/// A stage of the pipeline: the queues that it takes from, its workers, and how to see
/// whether it can work.
#[derive(Clone)]
pub struct Service {
    pub(crate) name: &'static str,
    pub(crate) intakes: Vec<Intake>,
    pub(crate) workers: Vec<Arc<dyn Worker>>,
    /// The checks behind `/readyz`, without the one of the broker.
    pub probes: Vec<Probe>,
}

impl Service {
    /// A service that does nothing yet. `name`, such as `validator`, is in spans, metrics
    /// and dead letters.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            intakes: Vec::new(),
            workers: Vec::new(),
            probes: Vec::new(),
        }
    }

    /// Takes messages from the queue that carries the handler's messages.
    #[must_use]
    pub fn handler(mut self, handler: impl Handler) -> Self {
        self.intakes.push(Intake::new(handler));
        self
    }

    #[must_use]
    pub fn worker(mut self, worker: impl Worker) -> Self {
        self.workers.push(Arc::new(worker));
        self
    }

    /// `/readyz` names `name` as unreachable when `check` fails or takes too
    /// long. If several services have a probe of the same name, the first one counts.
    #[must_use]
    pub fn probe<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.probes.push(Probe::new(name, check));
        self
    }
}
