//! What the tests of several packages need. No program that is shipped depends on it.
//!
//! * [`environment`]: the broker, object store and catalog of one test, embedded or on
//!   servers; [`embedded`]: an embedded one that is open; [`rabbitmq`]: RabbitMQ's
//!   management API.
//! * [`program`]: the workspace's programs; [`command`]: runs of `maskline`.
//! * [`proxy`]: a TCP proxy whose connections a test can break.
//! * [`span`]: spans as OTLP carries them; [`collector`]: a receiver of spans;
//!   [`jaeger`]: traces read back from a real Jaeger.
//! * [`python`]: a frozen dataset as Python's libraries read it.
//! * [`messages`]: sample messages; [`records`]: sample records of a catalog; [`publish`]:
//!   messages as raw bytes.
//! * [`real_images`]: photographs beside the repository, if there are any.
//! * [`vulkan`]: tests on a GPU, which is a driver in software.
//! * [`wait`]: waiting with a limit.

pub mod collector;
pub mod command;
pub mod embedded;
pub mod environment;
pub mod jaeger;
pub mod messages;
pub mod program;
pub mod proxy;
pub mod publish;
pub mod python;
pub mod rabbitmq;
pub mod real_images;
pub mod records;
pub mod span;
pub mod vulkan;
pub mod wait;
