//! The pipeline under much more work than a test has: how much memory and time it needs, and
//! whether that stays the same.
//!
//! * [`soak`]: a long job through five processes.
//! * [`slow_storer`]: a storer that can't keep up.
//! * [`expand`]: a list that is too large for memory.
//! * [`neighbours`]: a good job beside jobs of bad hosts.
//! * [`search`]: several scrapers at one provider of image search.
//! * [`faces`]: what finding faces costs the validator.
//! * [`status`]: the time of `maskline status` for a large job.
//! * [`generated_site`]: a web site of any size; [`sources`]: its pictures as several sources of one
//!   collection; [`memory`]: the memory of a process;
//!   [`report`]: what is printed.

pub mod expand;
pub mod faces;
pub mod generated_site;
pub mod memory;
pub mod neighbours;
pub mod report;
pub mod search;
pub mod slow_storer;
pub mod soak;
pub mod sources;
pub mod status;
