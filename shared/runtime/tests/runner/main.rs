//! What the runner promises, over the embedded broker.

mod environment;
mod http;
mod messages;
mod spans;
mod stopping;
mod traces;
mod watched;
mod workers;
