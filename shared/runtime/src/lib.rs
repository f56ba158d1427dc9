//! How a service runs: handlers and workers, the brokers, retry, dead letters,
//! graceful stop, telemetry and configuration.
//!
//! A service implements [`Handler`] for each queue that it takes from and, if it has
//! work that outlasts a delivery, [`Worker`]. Nothing in it says channel,
//! acknowledgement, span or reconnect. Its `main` is one call of [`entry()`].
//!
//! * [`stage`], [`context`], [`service`]: what a service is made of.
//! * [`runner`]: takes messages, settles each of them, stops gracefully.
//! * [`config`]: the flags and variables that every service takes.
//! * [`broker`]: RabbitMQ and the embedded queue behind one trait.
//! * [`telemetry`]: traces, logs; `/metrics`, `/healthz` and `/readyz` are served
//!   where [`RuntimeArgs`] says.

mod attempt;
pub mod broker;
pub mod config;
pub mod context;
mod entry;
mod http;
mod instance;
mod intake;
mod metrics;
pub mod runner;
pub mod sender;
pub mod service;
pub mod stage;
pub mod telemetry;
mod work;

pub use broker::{
    Broker, BrokerAdmin, BrokerError, Consume, DeadLetter, DeadLetterId, Delivery, Envelope,
    Publish, Settle,
};
pub use config::{BrokerArgs, HttpAddress, RuntimeArgs};
pub use context::{Context, WorkContext};
pub use entry::{entry, launch, stop_on_signals};
pub use maskline_foundation::{Address, RetryPolicy};
pub use runner::{Runner, run};
pub use sender::Sender;
pub use service::Service;
pub use stage::{Failure, Handler, Outcome, Worker};
