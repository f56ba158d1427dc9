//! How a stage runs: the [`Stage`] trait, the brokers, retry, dead letters,
//! graceful stop, telemetry and configuration.
//!
//! A service implements [`Stage`] and, where it has work that outlasts a
//! delivery, [`Worker`]; nothing in it says channel, acknowledgement, span or
//! reconnect.

pub mod broker;
pub mod context;
pub mod sender;
pub mod stage;

pub use broker::{Broker, BrokerError, DeadLetter, DeadLetterId, Delivery, Envelope, Settle};
pub use context::{Context, WorkContext};
pub use sender::Sender;
pub use stage::{Failure, Intake, Outcome, Stage, Worker};
