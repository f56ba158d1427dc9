//! Puts the pipeline under load and prints what it needed; see `tests/load`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use maskline_tests::load::{expand, neighbours, report::Report, slow_storer, soak, status};

/// Puts the pipeline under load, and prints what it needed
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Cli {
    #[command(subcommand)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Load {
    /// Runs a long job through five processes: memory and throughput must stay as they are
    Soak {
        /// The number of candidates
        #[arg(default_value_t = 200_000)]
        count: u64,
    },
    /// Slows the storer down so that it can't keep up: queues must stay short
    SlowStorer {
        /// The number of candidates
        #[arg(default_value_t = 3_000)]
        count: u64,
    },
    /// Expands a list too large for memory, and stops and kills the scraper in the middle
    Expand {
        /// The number of URLs in the list
        #[arg(default_value_t = 1_000_000)]
        count: u64,
    },
    /// Measures how much of its speed a job keeps beside jobs of bad hosts
    Neighbours,
    /// Measures how long `maskline status` takes, on SQLite and on MongoDB
    Status {
        /// The number of candidates
        #[arg(default_value_t = 1_000_000)]
        count: u64,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut report = Report::default();
    match Cli::parse().load {
        Load::Soak { count } => soak::run(&mut report, count).await,
        Load::SlowStorer { count } => slow_storer::run(&mut report, count).await,
        Load::Expand { count } => expand::run(&mut report, count).await,
        Load::Neighbours => neighbours::run(&mut report).await,
        Load::Status { count } => status::run(&mut report, count).await,
    }
    match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
