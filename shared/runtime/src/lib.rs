//! How a service runs: taking messages, retrying, dead letters, graceful stop, telemetry and
//! configuration.
//!
//! A service implements [`Handler`] for each queue that it takes from. If it has work that
//! outlasts a delivery, it implements [`Worker`] as well. It never handles channels,
//! acknowledgements, spans or reconnects. Its `main` is one call of [`entry()`].
//!
//! * [`Handler`], [`Worker`], [`Service`], [`Context`]: what a service is made of.
//! * [`Runner`]: takes messages, settles each of them and stops gracefully. It serves
//!   `/metrics`, `/healthz` and `/readyz`.
//! * [`RuntimeArgs`]: the flags and variables that every service takes.
//! * [`broker`]: RabbitMQ and the embedded queue behind the same traits.
//! * [`telemetry`]: traces and logs.

mod attempt;
pub mod broker;
mod config;
mod context;
mod entry;
mod http;
mod instance;
mod intake;
mod metrics;
mod runner;
mod sender;
mod service;
mod stage;
pub mod telemetry;
mod work;

pub use broker::{
    Broker, BrokerAdmin, BrokerError, Consume, DeadLetter, DeadLetterId, Delivery, Envelope,
    Publish, Settle,
};
pub use config::{BrokerArgs, HttpAddress, RuntimeArgs};
pub use context::{Context, WorkContext};
pub use entry::{entry, launch, stop_on_signals};
pub use instance::instance;
pub use maskline_foundation::{Address, RetryPolicy};
pub use runner::{Runner, run};
pub use sender::Sender;
pub use service::Service;
pub use stage::{EndsProcess, Failure, Handler, Outcome, Worker};
