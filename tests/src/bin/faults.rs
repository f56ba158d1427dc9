//! Breaks things around the pipeline and checks what the pipeline makes of it; see
//! `tests/faults`.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use maskline_tests::faults::{
    kinds::KINDS,
    trial::{Kind, Outcome},
};

/// Breaks things around the pipeline, and checks what the pipeline makes of it
#[derive(Debug, Parser)]
#[command(name = "faults", after_help = help_kinds())]
struct Cli {
    /// How much to do, `smoke` or `full` (the default), and which kinds of fault (default: all)
    #[arg(value_name = "smoke|full|KIND")]
    words: Vec<Word>,
    /// The seed of all choices and pictures; the same seed makes the same choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone)]
enum Word {
    Extent(Extent),
    Kind(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Extent {
    Smoke,
    Full,
}

impl std::str::FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(extent) = Extent::from_str(text, false) {
            return Ok(Self::Extent(extent));
        }
        let kind = KINDS.iter().find(|kind| kind.name == text);
        let kind = kind.ok_or("there is no such kind of fault: --help lists them")?;
        Ok(Self::Kind(kind.name))
    }
}

fn help_kinds() -> String {
    let kinds = KINDS
        .iter()
        .map(|kind| format!("  {:<14} {}\n", kind.name, kind.what));
    format!("Kinds:\n{}", kinds.collect::<String>())
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let smoke = cli
        .words
        .iter()
        .any(|word| matches!(word, Word::Extent(Extent::Smoke)));
    let is_wanted = |kind: &&Kind| {
        let mut names = cli.words.iter().filter_map(|word| match word {
            Word::Kind(name) => Some(*name),
            Word::Extent(_) => None,
        });
        let all = names.clone().next().is_none();
        all || names.any(|name| name == kind.name)
    };
    println!("seed {}", cli.seed);
    let mut outcomes = vec![];
    for kind in KINDS.iter().filter(is_wanted) {
        let amount = if smoke { kind.smoke } else { Some(kind.full) };
        let Some(amount) = amount else { continue };
        outcomes.push(kind.execute(amount, cli.seed).await);
    }
    print_table(&outcomes);
    match outcomes.iter().all(Outcome::is_good) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn print_table(outcomes: &[Outcome]) {
    println!("\n{:<14} {:>6} {:>8}  verdict", "kind", "faults", "seconds");
    for outcome in outcomes {
        println!(
            "{:<14} {:>6} {:>8.0}  {}",
            outcome.kind,
            outcome.faults,
            outcome.took.as_secs_f64(),
            outcome.verdict()
        );
    }
}
