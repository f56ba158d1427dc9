//! A stage with what belongs to it.

use std::sync::Arc;

pub use maskline_foundation::Probe;

use crate::stage::{Stage, Worker};

/// A stage, its workers, and how to see whether it can work.
#[derive(Clone)]
pub struct Service {
    pub stage: Arc<dyn Stage>,
    pub workers: Vec<Arc<dyn Worker>>,
    pub probes: Vec<Probe>,
}

impl Service {
    pub fn new(stage: impl Stage) -> Self {
        Self::of(Arc::new(stage))
    }

    /// A stage that is shared with whoever calls.
    pub fn of(stage: Arc<dyn Stage>) -> Self {
        Self {
            stage,
            workers: Vec::new(),
            probes: Vec::new(),
        }
    }

    #[must_use]
    pub fn worker(self, worker: impl Worker) -> Self {
        self.shared_worker(Arc::new(worker))
    }

    #[must_use]
    pub fn shared_worker(mut self, worker: Arc<dyn Worker>) -> Self {
        self.workers.push(worker);
        self
    }

    /// `/readyz` names `name` as unreachable when `check` fails or takes too
    /// long. Of several services' probes with one name the first counts.
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
