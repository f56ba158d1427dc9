//! Tests of the runner, over the embedded broker.

mod harness;
mod http;
mod messages;
mod spans;
mod stopping;
mod traces;
mod watched;
mod workers;
