//! The memory of a process, as Linux counts it.

use std::fs;

use crate::process::Process;

/// The resident memory of a process in megabytes, which are 10⁶ bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub now: f64,
    /// The largest value since the process started.
    pub peak: f64,
}

pub fn memory(process: &Process) -> Memory {
    let path = format!("/proc/{}/status", process.id());
    let status = fs::read_to_string(path).expect("the process runs, on Linux");
    let megabytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
        let kibibytes: f64 = kibibytes
            .and_then(|text| text.parse().ok())
            .expect("a size");
        kibibytes * 1024.0 / 1e6
    };
    Memory {
        now: megabytes("VmRSS"),
        peak: megabytes("VmHWM"),
    }
}
