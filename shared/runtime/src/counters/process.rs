//! What the process takes of its machine, under Prometheus' own names. From Linux's
//! `/proc`; elsewhere there is nothing to tell.

use std::{fs, sync::OnceLock};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const MEMORY: &str = "process_resident_memory_bytes";
const CPU: &str = "process_cpu_seconds_total";
const FILES: &str = "process_open_fds";
const STARTED: &str = "process_start_time_seconds";

pub fn describe() {
    describe_gauge!(MEMORY, Unit::Bytes, "Memory that the process has in hand");
    describe_counter!(CPU, "Whole seconds of a core, user and system together");
    describe_gauge!(FILES, "Open file descriptors, connections included");
    describe_gauge!(STARTED, "When the process began, in Unix time");
}

/// Looks, and sets the metrics.
pub fn measure() {
    let Some(taken) = Taken::now() else { return };
    gauge!(MEMORY).set(taken.memory as f64);
    counter!(CPU).absolute(taken.cpu_seconds);
    gauge!(FILES).set(taken.files as f64);
    gauge!(STARTED).set(taken.started);
}

struct Taken {
    memory: u64,
    cpu_seconds: u64,
    files: usize,
    started: f64,
}

/// Clock ticks in a second: what Linux counts in for programs, everywhere.
const TICKS: u64 = 100;

impl Taken {
    fn now() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let memory = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let memory: u64 = memory.trim().strip_suffix(" kB")?.parse().ok()?;
        // The program's name, in parentheses, may hold spaces. After it: the state is
        // field 3, user time 14, system time 15, the start 22 (proc(5)).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            memory: memory * 1024,
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS,
            files: fs::read_dir("/proc/self/fd").ok()?.count(),
            started: boot()? + ticks(22)? as f64 / TICKS as f64,
        })
    }
}

/// When the machine began, in seconds of Unix time.
fn boot() -> Option<f64> {
    static BOOT: OnceLock<Option<f64>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        boot.trim().parse().ok()
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_process_knows_what_it_takes() {
        let taken = Taken::now().expect("/proc can be read");
        assert!(taken.memory > 1 << 20, "{}", taken.memory);
        assert!(taken.files >= 3, "{}", taken.files);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs_f64();
        // Within a day: the machine's clock may have been set since it began.
        assert!((now - taken.started).abs() < 86_400.0, "{}", taken.started);
    }
}
