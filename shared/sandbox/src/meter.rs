//! What a request has taken so far of the time that it may take.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{Limit, Limits, system::ProcessorClock};

/// How often a worker's time is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Measures the time of one request.
pub(crate) struct Meter {
    clock: ProcessorClock,
    processor_time_before: Duration,
    time: Duration,
}

impl Meter {
    pub(crate) fn start(clock: ProcessorClock) -> Self {
        Self {
            clock,
            processor_time_before: clock.now(),
            time: Duration::ZERO,
        }
    }

    /// Waits for something that the worker has to do. Returns the limit that it reaches before
    /// that. Only the time of these waits is counted.
    ///
    /// It is counted in ticks, and not by the clock alone, so that it stands still while this
    /// process does: a suspended machine is not to blame on a request.
    pub(crate) async fn wait<T>(
        &mut self,
        limits: &Limits,
        work: impl Future<Output = T>,
    ) -> Result<T, Limit> {
        let mut work = pin!(work);
        loop {
            let tick = Instant::now();
            let done = timeout(TICK, &mut work).await;
            self.time += tick.elapsed().min(2 * TICK);
            if let Ok(done) = done {
                return Ok(done);
            }
            let processor_time = self.clock.now().saturating_sub(self.processor_time_before);
            if processor_time >= limits.processor_time {
                return Err(Limit::ProcessorTime(limits.processor_time));
            }
            if self.time >= limits.time {
                return Err(Limit::Time(limits.time));
            }
        }
    }
}
