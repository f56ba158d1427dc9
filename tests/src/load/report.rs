//! The output of a load test.

use std::time::Instant;

/// Prints lines with their time, and counts the checks that fail.
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
    pub fn log(&self, what: impl std::fmt::Display) {
        println!("{:7.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Prints `what`, and whether it is as it must be.
    pub fn check(&mut self, holds: bool, what: impl std::fmt::Display) {
        self.broken += u32::from(!holds);
        self.log(format_args!(
            "{}: {what}",
            if holds { "holds" } else { "BROKEN" }
        ));
    }

    /// Returns whether every check held.
    pub fn is_good(&self) -> bool {
        self.broken == 0
    }
}
