//! One kind of fault being done.

use std::{fmt::Display, ops::Range, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Dose, Kind};

/// So many jobs on end may pass without a fault, each too quick to be met by one.
const IN_VAIN: u32 = 10;

/// A kind of fault being done: its chances, its log and its count.
pub struct Trial {
    kind: &'static str,
    pub dose: Dose,
    /// Of the pictures.
    pub seed: u64,
    random: StdRng,
    begun: Instant,
    faults: u32,
    /// Jobs on end that were begun, with no fault since.
    in_vain: u32,
    problems: Vec<String>,
    skipped: Option<String>,
}

/// What came of a kind.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub kind: &'static str,
    /// So many were done.
    pub faults: u32,
    pub took: Duration,
    /// What was wrong in the end.
    pub problems: Vec<String>,
    /// Why it was not done.
    pub skipped: Option<String>,
}

impl Outcome {
    /// Whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// In a few words.
    pub fn verdict(&self) -> String {
        match (&self.skipped, self.problems.len()) {
            (Some(why), 0) => format!("skipped: {why}"),
            (None, 0) => "holds".to_owned(),
            (_, problems) => format!("BROKEN: {problems} problems, see above"),
        }
    }
}

impl Kind {
    /// Does it to the end. The same seed makes the same choices, as far as the
    /// machine's own timing lets it.
    pub async fn try_it(&self, dose: Dose, seed: u64) -> Outcome {
        let chances = Sha256::digest(format!("{seed}/{}", self.name));
        let mut trial = Trial {
            kind: self.name,
            dose,
            seed,
            random: StdRng::from_seed(chances.into()),
            begun: Instant::now(),
            faults: 0,
            in_vain: 0,
            problems: vec![],
            skipped: None,
        };
        trial.say(self.what);
        let done = AssertUnwindSafe((self.run)(&mut trial))
            .catch_unwind()
            .await;
        if let Err(panic) = done {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            trial.problem(text.unwrap_or("it panicked"));
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
    pub fn say(&self, what: impl Display) {
        println!(
            "{:>7.1} s  {:<12}  {what}",
            self.begun.elapsed().as_secs_f64(),
            self.kind
        );
    }

    /// A fault was done.
    pub fn struck(&mut self, what: impl Display) {
        self.faults += 1;
        self.in_vain = 0;
        self.say(format_args!("{:>3}  {what}", self.faults));
    }

    pub fn faults(&self) -> u32 {
        self.faults
    }

    /// Whether another job is to be begun, for want of so many faults in all. A problem
    /// where job after job passes without any.
    pub fn goes_on(&mut self, wanted: u32) -> bool {
        let in_vain = std::mem::take(&mut self.in_vain);
        if self.faults >= wanted {
            return false;
        }
        if in_vain == IN_VAIN {
            let faults = self.faults;
            self.problem(format_args!(
                "{in_vain} jobs on end without a fault, {faults} of {wanted} done"
            ));
            return false;
        }
        self.in_vain = in_vain + 1;
        true
    }

    /// Something is not as it must be.
    pub fn problem(&mut self, what: impl Display) {
        self.say(format_args!("PROBLEM: {what}"));
        self.problems.push(what.to_string());
    }

    /// It can't be done on this machine.
    pub fn skip(&mut self, why: impl Display) {
        self.say(format_args!("skipped: {why}"));
        self.skipped = Some(why.to_string());
    }

    /// Lets a random while pass, of so many seconds: the moment of a fault is to be
    /// any.
    pub async fn moment(&mut self, seconds: Range<f64>) {
        let seconds = self.random.random_range(seconds);
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// A number below `end`.
    pub fn pick(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }
}
