//! Breaks things around the pipeline and says what came of it; see `tests/faults`.

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use maskline_tests::faults::{KINDS, Kind, Outcome};

/// Breaks things around the pipeline, and judges what comes of it
#[derive(Debug, Parser)]
#[command(name = "faults", after_help = help_kinds())]
struct Cli {
    /// `smoke` or `full` (the default): how much; and the kinds, all where none is named
    #[arg(value_name = "smoke|full|KIND")]
    words: Vec<Word>,
    /// Of every choice and of the pictures; the same seed makes the same choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone)]
enum Word {
    How(How),
    Kind(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum How {
    Smoke,
    Full,
}

impl std::str::FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(how) = How::from_str(text, false) {
            return Ok(Self::How(how));
        }
        let kind = KINDS.iter().find(|kind| kind.name == text);
        let kind = kind.ok_or("no kind of fault: --help lists them")?;
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
        .any(|word| matches!(word, Word::How(How::Smoke)));
    let named = |kind: &&Kind| {
        let mut kinds = cli.words.iter().filter_map(|word| match word {
            Word::Kind(name) => Some(*name),
            Word::How(_) => None,
        });
        let all = kinds.clone().next().is_none();
        all || kinds.any(|name| name == kind.name)
    };
    println!("seed {}", cli.seed);
    let mut outcomes = vec![];
    for kind in KINDS.iter().filter(named) {
        let dose = if smoke { kind.smoke } else { Some(kind.full) };
        let Some(dose) = dose else { continue };
        outcomes.push(kind.try_it(dose, cli.seed).await);
    }
    table(&outcomes);
    match outcomes.iter().all(Outcome::is_good) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn table(outcomes: &[Outcome]) {
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
