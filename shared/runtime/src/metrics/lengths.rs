//! The lengths of the queues that the process takes from. The broker is asked whenever
//! somebody reads the metrics.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use maskline_messages::{Queue, topology::DEAD_LETTERS};
use metrics::{describe_gauge, gauge};

use crate::broker::BrokerAdmin;

const QUEUED: &str = "maskline_queue_messages";

/// The longest wait for the broker's answer.
const LIMIT: Duration = Duration::from_secs(2);

/// Describes the metric.
pub fn describe() {
    describe_gauge!(QUEUED, "Messages that wait in a queue");
}

/// The queues of the process's stages, and the dead letters.
#[derive(Clone)]
pub struct QueueLengths {
    broker: Arc<dyn BrokerAdmin>,
    queues: BTreeSet<&'static str>,
}

impl QueueLengths {
    pub fn new(broker: Arc<dyn BrokerAdmin>, queues: impl IntoIterator<Item = Queue>) -> Self {
        let queues = queues.into_iter().map(Queue::name);
        Self {
            broker,
            queues: queues.chain([DEAD_LETTERS]).collect(),
        }
    }

    /// Asks the broker and sets the gauges. A length that the broker does not give becomes NaN,
    /// rather than staying at the last number.
    pub async fn measure(&self) {
        let asked = tokio::time::timeout(LIMIT, self.broker.lengths()).await;
        let lengths = asked.ok().and_then(Result::ok).unwrap_or_default();
        for &queue in &self.queues {
            let length = lengths.get(queue).map_or(f64::NAN, |&length| length as f64);
            gauge!(QUEUED, "queue" => queue).set(length);
        }
    }
}
