//! A process together with its child processes, as Linux counts them. The validator's workers are
//! such children.

use std::fs;

/// How many clock ticks `/proc` counts in a second, on every Linux.
const TICKS: f64 = 100.0;

/// The process ids of a process's children.
pub fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("Linux").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |id: &u32| stat(*id).is_some_and(|fields| fields[1] == u64::from(parent));
    ids.filter(is_child).collect()
}

/// The seconds of a processor that a process and its children have taken until now, also those
/// that have ended.
pub fn processor_seconds(process: u32) -> f64 {
    let own = stat(process).expect("the process runs");
    // Its own time, and that of the children that it has waited for: user, system, each.
    let mut ticks: u64 = own[11..=14].iter().sum();
    for child in children(process) {
        ticks += stat(child).map_or(0, |fields| fields[11] + fields[12]);
    }
    ticks as f64 / TICKS
}

/// Whether a process runs. One that has ended, and that its parent has not noticed, does not.
pub fn runs(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// The fields of proc(5) after the name: state, parent and so on. What is no number is 0.
fn stat(process: u32) -> Option<Vec<u64>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields = fields.split_whitespace();
    Some(
        fields
            .map(|field| field.parse().unwrap_or_default())
            .collect(),
    )
}
