//! One kind of fault while it is being executed.

use std::{fmt::Display, ops::Range, panic::AssertUnwindSafe, time::Duration};

use futures::{FutureExt, future::LocalBoxFuture};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// How many jobs in a row may end without a fault. Each of them was too quick for one.
const JOBS_WITHOUT_FAULT: u32 = 10;

/// A kind of fault.
pub struct Kind {
    pub name: &'static str,
    /// A line about it for `--help`.
    pub what: &'static str,
    /// `None` where it takes longer than a smoke test may.
    pub smoke: Option<Amount>,
    pub full: Amount,
    pub run: for<'a> fn(&'a mut Trial) -> LocalBoxFuture<'a, ()>,
}

/// How much of a kind is done.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// The number of faults. Where a kind has several targets, each gets that many.
    pub faults: u32,
    /// The number of faces of each class in a job.
    pub faces: u64,
}

/// A kind of fault while it is being executed: its random choices, its log and its count.
pub struct Trial {
    kind: &'static str,
    pub amount: Amount,
    /// The seed of the pictures.
    pub seed: u64,
    random: StdRng,
    begun: Instant,
    faults: u32,
    /// How many jobs in a row have begun since the last fault.
    jobs_without_fault: u32,
    problems: Vec<String>,
    skipped: Option<String>,
}

/// The result of executing a kind.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub kind: &'static str,
    /// The number of faults that were caused.
    pub faults: u32,
    pub took: Duration,
    /// Descriptions of what was wrong.
    pub problems: Vec<String>,
    /// Why the kind can't be executed on this machine.
    pub skipped: Option<String>,
}

impl Outcome {
    /// Returns whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// The outcome in a few words.
    pub fn verdict(&self) -> String {
        match (&self.skipped, self.problems.len()) {
            (Some(why), 0) => format!("skipped: {why}"),
            (None, 0) => "holds".to_owned(),
            (_, problems) => format!("BROKEN: {problems} problems, see above"),
        }
    }
}

impl Kind {
    /// Executes the kind to its end. The same seed makes the same random choices. What
    /// they meet still depends on the timing of the machine.
    pub async fn execute(&self, amount: Amount, seed: u64) -> Outcome {
        let random = Sha256::digest(format!("{seed}/{}", self.name));
        let mut trial = Trial {
            kind: self.name,
            amount,
            seed,
            random: StdRng::from_seed(random.into()),
            begun: Instant::now(),
            faults: 0,
            jobs_without_fault: 0,
            problems: vec![],
            skipped: None,
        };
        trial.log(self.what);
        let done = AssertUnwindSafe((self.run)(&mut trial))
            .catch_unwind()
            .await;
        if let Err(panic) = done {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            trial.record_problem(text.unwrap_or("it panicked"));
        }
        Outcome {
            kind: self.name,
            faults: trial.faults,
            took: trial.begun.elapsed(),
            problems: trial.problems,
            skipped: trial.skipped,
        }
    }
}

impl Trial {
    /// Prints a line with the time and the kind.
    pub fn log(&self, what: impl Display) {
        println!(
            "{:>7.1} s  {:<12}  {what}",
            self.begun.elapsed().as_secs_f64(),
            self.kind
        );
    }

    /// Counts and logs a fault that was caused.
    pub fn record_fault(&mut self, what: impl Display) {
        self.faults += 1;
        self.jobs_without_fault = 0;
        self.log(format_args!("{:>3}  {what}", self.faults));
    }

    /// How many faults were caused so far.
    pub fn faults(&self) -> u32 {
        self.faults
    }

    /// Returns whether another job is needed to reach `wanted` faults in all. Records a problem
    /// when too many jobs in a row ended without a fault.
    pub fn needs_another_job(&mut self, wanted: u32) -> bool {
        let without_fault = std::mem::take(&mut self.jobs_without_fault);
        if self.faults >= wanted {
            return false;
        }
        if without_fault == JOBS_WITHOUT_FAULT {
            let faults = self.faults;
            self.record_problem(format_args!(
                "{without_fault} jobs in a row without a fault, {faults} of {wanted} done"
            ));
            return false;
        }
        self.jobs_without_fault = without_fault + 1;
        true
    }

    /// Records and logs something that is not as it must be.
    pub fn record_problem(&mut self, what: impl Display) {
        self.log(format_args!("PROBLEM: {what}"));
        self.problems.push(what.to_string());
    }

    /// Records why the kind can't be executed on this machine.
    pub fn skip(&mut self, why: impl Display) {
        self.log(format_args!("skipped: {why}"));
        self.skipped = Some(why.to_string());
    }

    /// Waits for a random time within this range of seconds.
    pub async fn random_pause(&mut self, seconds: Range<f64>) {
        let seconds = self.random.random_range(seconds);
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// A random number below `end`.
    pub fn random_index(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }
}
