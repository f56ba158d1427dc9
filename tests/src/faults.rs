//! The pipeline while everything around it breaks.
//!
//! Five services, each in two processes, work on a job whose right result is known, while
//! a kind of fault is caused again and again. In the end [`checks`] looks at the catalog,
//! the object store and the broker from outside. It reports every difference from what an
//! undisturbed run leaves.
//!
//! * [`kinds`]: the list of all kinds of fault.
//! * [`trial`]: one kind while it is being executed, with its random choices, its log and
//!   its count of faults.
//! * [`job_under_test`]: one job and everything that works on it; [`replicas`]: the
//!   services' processes.
//! * [`expected`]: what the job must end as; [`checks`]: whether it did.
//! * [`frame_filter`]: a proxy in front of RabbitMQ that withholds one frame; [`node`]: a
//!   RabbitMQ that can be stopped and started again.
//! * The kinds themselves: [`signals`], [`network`], [`restarted`], [`disk`], [`embedded`],
//!   [`poison`], [`replayed`], [`unsettled`], [`frozen_twice`], [`training`], [`clock`].
//!
//! A file imports only files that come later in this order: the kinds, `checks`,
//! `job_under_test`, `expected`, `replicas`, `trial`.

pub mod checks;
pub mod clock;
pub mod disk;
pub mod embedded;
pub mod expected;
pub mod frame_filter;
pub mod frozen_twice;
pub mod job_under_test;
pub mod kinds;
pub mod network;
pub mod node;
pub mod poison;
pub mod replayed;
pub mod replicas;
pub mod restarted;
pub mod signals;
pub mod training;
pub mod trial;
pub mod unsettled;
