//! The causes for which a run stops before its end.

use anyhow::{Result, ensure};
use maskline_messages::RunId;
use tokio_util::sync::CancellationToken;

/// The two causes that interrupt a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    /// The service is asked to stop: the run saves a checkpoint and is given back.
    pub(crate) stopping: CancellationToken,
    /// The lease is lost: another trainer has the run, and this one writes nothing more.
    pub(crate) lease_lost: CancellationToken,
}

impl Interrupt {
    pub(crate) fn is_requested(&self) -> bool {
        self.stopping.is_cancelled() || self.lease_lost.is_cancelled()
    }

    /// Returns an error if the lease on `run` is lost.
    pub(crate) fn check_lease(&self, run: RunId) -> Result<()> {
        ensure!(
            !self.lease_lost.is_cancelled(),
            "the lease on run {run} was lost: another trainer has it"
        );
        Ok(())
    }
}
