//! The pipeline under more than a test's worth of work: what it takes of memory and
//! time, and that it stays so.
//!
//! * [`soak`]: a long job through five processes; [`slow_storer`]: back-pressure;
//!   [`expand`]: a source too large for memory; [`status`]: a question about a large job.
//! * [`web`]: a site of any size; [`watch`]: what a process takes, as the system counts it.

pub mod expand;
pub mod slow_storer;
pub mod soak;
pub mod status;
pub mod watch;
pub mod web;

use std::time::Instant;

/// Prints what is seen, with its time, and counts what is not as it should be.
pub struct Report {
    began: Instant,
    broken: u32,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            broken: 0,
        }
    }
}

impl Report {
    pub fn say(&self, what: impl std::fmt::Display) {
        println!("{:7.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Says `what`, and whether it is as it should be.
    pub fn must(&mut self, holds: bool, what: impl std::fmt::Display) {
        self.broken += u32::from(!holds);
        self.say(format_args!(
            "{}: {what}",
            if holds { "holds" } else { "BROKEN" }
        ));
    }

    /// Whether all held.
    pub fn is_good(&self) -> bool {
        self.broken == 0
    }
}
