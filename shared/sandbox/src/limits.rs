//! The bounds of a request.

use std::{fmt, time::Duration};

/// What a request may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of memory that a request may claim. All requests of a pool together may
    /// claim as many.
    pub claimed: u64,
    /// The bytes of memory that a request may take beside its own bytes and beside what it claims.
    pub unclaimed: u64,
    /// The time of a processor.
    pub processor_time: Duration,
    /// The time on the clock. A worker has to wait for a processor on a busy machine, so this is
    /// for one that does nothing at all.
    pub time: Duration,
    /// The most bytes of an answer.
    pub answer: u64,
}

/// The bound that a request has reached. Its text completes the sentence "it takes more than …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many bytes of memory, beside the request's own.
    Memory(u64),
    ProcessorTime(Duration),
    Time(Duration),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "{} MiB of memory", bytes.div_ceil(1 << 20)),
            Self::ProcessorTime(time) => write!(f, "{} s of processor time", time.as_secs_f64()),
            Self::Time(time) => write!(f, "{} s", time.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_how_much_there_was() {
        let shown = [
            Limit::Memory((40 << 20) - 1),
            Limit::ProcessorTime(Duration::from_secs(10)),
            Limit::Time(Duration::from_millis(1500)),
        ];
        let expected = ["40 MiB of memory", "10 s of processor time", "1.5 s"];
        assert_eq!(shown.map(|limit| limit.to_string()), expected);
    }
}
