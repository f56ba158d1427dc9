//! The parts of the end-to-end tests in `tests/`. The tests start the programs as they
//! are shipped, each as a process of its own, and look at them from outside.
//!
//! * [`process`]: the services' processes; [`family`]: a process with its children.
//! * [`own_server`]: servers of one test, which it may break.
//! * [`pictures`], [`collection`], [`site`]: drawn images, good and bad, and the web site
//!   or folder that holds them.
//! * [`dataset`]: a frozen dataset, read back from its shards.
//! * [`tls`]: certificates, and TLS in front of servers that do not speak it.
//! * [`faults`]: the pipeline while something breaks.
//! * [`load`]: the pipeline under a lot of work.
//!
//! The environment of a test, runs of the command `maskline`, proxies and traces are in
//! the crate `maskline-test-support`, which the tests of other packages share.

pub mod collection;
pub mod dataset;
pub mod family;
pub mod faults;
pub mod load;
pub mod own_server;
pub mod pictures;
pub mod process;
pub mod site;
pub mod tls;
