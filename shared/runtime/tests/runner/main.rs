//! What the runner promises, over the embedded broker.

mod bench;
mod http;
mod messages;
mod spans;
mod stopping;
mod traces;
mod watched;
mod workers;
