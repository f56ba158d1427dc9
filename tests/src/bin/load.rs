//! Puts the pipeline under load and says what it took; see `tests/load`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use maskline_tests::load::{Report, expand, slow_storer, soak, status};

/// Puts the pipeline under load, and says what it took
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A long job through five processes: memory and throughput stay as they are
    Soak {
        /// Candidates
        #[arg(default_value_t = 200_000)]
        count: u64,
    },
    /// A storer that can't keep up: queues stay short
    SlowStorer {
        /// Candidates
        #[arg(default_value_t = 3_000)]
        count: u64,
    },
    /// A list too large for memory, stopped and killed in the middle
    Expand {
        /// URLs in it
        #[arg(default_value_t = 1_000_000)]
        count: u64,
    },
    /// How long `maskline status` takes, on SQLite and on MongoDB
    Status {
        /// Candidates
        #[arg(default_value_t = 1_000_000)]
        count: u64,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut report = Report::default();
    match Cli::parse().what {
        What::Soak { count } => soak::run(&mut report, count).await,
        What::SlowStorer { count } => slow_storer::run(&mut report, count).await,
        What::Expand { count } => expand::run(&mut report, count).await,
        What::Status { count } => status::run(&mut report, count).await,
    }
    match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
