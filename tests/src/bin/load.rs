//! Puts the pipeline under load and prints what it needed; see `tests/load`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use maskline_tests::load::{
    expand, faces, neighbours, report::Report, search, slow_storer, soak, status,
};

/// Puts the pipeline under load, and prints what it needed
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Cli {
    #[command(subcommand)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Load {
    /// Runs long jobs of one collection through five processes: memory and throughput must stay as they are
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
    /// Expands lists too large for memory, and stops and kills the scraper in the middle
    Expand {
        /// The number of URLs in all lists
        #[arg(default_value_t = 1_000_000)]
        count: u64,
    },
    /// Measures how much of its speed a job keeps beside jobs of bad hosts
    Neighbours {
        /// The number of pictures of the job
        #[arg(default_value_t = 200)]
        count: u64,
    },
    /// Searches with four scrapers: they must keep the provider's quota together
    Search {
        /// How long they search
        #[arg(default_value_t = 3)]
        minutes: u64,
    },
    /// Measures how long `maskline status` and `maskline collections` take, on SQLite and on MongoDB
    Status {
        /// The number of candidates
        #[arg(default_value_t = 1_000_000)]
        count: u64,
    },
    /// Measures what finding faces costs the validator
    Faces {
        /// A folder of pictures, which has a folder for each class
        folder: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut report = Report::default();
    match Cli::parse().load {
        Load::Soak { count } => soak::run(&mut report, count).await,
        Load::SlowStorer { count } => slow_storer::run(&mut report, count).await,
        Load::Expand { count } => expand::run(&mut report, count).await,
        Load::Neighbours { count } => neighbours::run(&mut report, count).await,
        Load::Search { minutes } => search::run(&mut report, minutes).await,
        Load::Status { count } => status::run(&mut report, count).await,
        Load::Faces { folder } => faces::run(&mut report, &folder).await,
    }
    match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
