//! The contract between every broker and the runner of stages.
//!
//! [`Publish`] and [`Consume`] are what a stage is given, [`BrokerAdmin`] is what an operator
//! needs, and a [`Broker`] is all three. These are their promises. One contract suite tests
//! them over every implementation:
//!
//! * [`Publish::publish`] returns `Ok` only when the message is durable in the
//!   queue that its key leads to. A key without a queue is an error, never a
//!   silent loss.
//! * A delivery is redelivered (to this or another consumer) unless it was
//!   settled: a consumer that dies loses nothing.
//! * A queue that is full makes publishers wait, and then fail with
//!   [`BrokerError::Full`]. It drops nothing.
//! * A consumer that waits on an empty queue gets a new message within milliseconds.
//! * A lost connection is repaired behind the trait: a publish in that time
//!   fails with [`BrokerError::Unavailable`] after its time limit, a consumer
//!   waits and goes on.

mod dead_letter;
mod delivery;
mod embedded;
mod envelope;
mod error;
mod rabbitmq;
mod roles;

use std::sync::Arc;

pub use dead_letter::{DeadLetter, DeadLetterId, DeadLetterKind, DeadLetterReason};
pub use delivery::{Consumer, DELAYED, Delivery, Settle};
pub use envelope::{Envelope, Headers};
pub use error::{BrokerError, Cause};
pub use maskline_messages::MAX_BODY;
pub use roles::{Broker, BrokerAdmin, Consume, Depth, Publish};

/// Connects to the broker at `url`: `amqp://…` or `embedded:FILE`.
pub async fn open(url: &str) -> Result<Arc<dyn Broker>, BrokerError> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "embedded" => Ok(Arc::new(embedded::Embedded::open(rest).await?)),
        "amqp" | "amqps" => Ok(Arc::new(rabbitmq::RabbitMq::open(url).await?)),
        _ => Err(BrokerError::misconfigured(
            "the address names no broker: write amqp://USER:PASSWORD@HOST:PORT/VHOST or \
             embedded:PATH",
        )),
    }
}
