//! The memory of a process and its children, as Linux counts it.

use std::{fs, iter};

use crate::{family::children, process::Process};

/// The resident memory of a process and its children in megabytes, which are 10⁶ bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub now: f64,
    /// The sum of the largest value of each since it started.
    pub peak: f64,
}

pub fn memory(process: &Process) -> Memory {
    let all = iter::once(process.id()).chain(children(process.id()));
    // A child may have ended meanwhile.
    let statuses = all.filter_map(|id| fs::read_to_string(format!("/proc/{id}/status")).ok());
    let mut memory = Memory::default();
    for status in statuses {
        memory.now += megabytes(&status, "VmRSS");
        memory.peak += megabytes(&status, "VmHWM");
    }
    memory
}

/// A field of proc(5). A process that has just ended has no memory.
fn megabytes(status: &str, field: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    let kibibytes: f64 = kibibytes.map_or(0.0, |text| text.parse().expect("a size"));
    kibibytes * 1024.0 / 1e6
}
