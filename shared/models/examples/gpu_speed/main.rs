//! Prints how many images a second each network trains on and predicts on a GPU, beside PyTorch
//! with CUDA if there is one, how busy the GPU is meanwhile, and what a step costs: how many kernels
//! it launches, and how much time of the processor the whole program takes. `tests/gpu` runs it.
//!
//!     cargo run --release -p maskline-models --features native-gpu --example gpu_speed -- --help
//!
//! A step of training brings a batch to the device, computes forwards and backwards, and moves the
//! weights by AdamW and their mean after them, as a run from random weights with the usual settings
//! does. A prediction brings a batch, and its logits are read while the next one is computed. On a driver in software, which computes on
//! the processor, a GPU's share of the time can't be told from the program's; the number of kernels
//! is that of any GPU with the same features of this crate.
//!
//! Each figure is measured in another process, so that one that fails or hangs costs no other. A
//! network and batch of ours have a process of their own, which leaves all memory to the next.
//! PyTorch keeps its process, because it takes seconds to start.

mod busy;
mod measure;
mod worker;

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use clap::Parser;
use maskline_messages::NetworkName;
use maskline_models::device::{self, Choice};

use measure::{Question, Speed, Work};
use worker::Worker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The goal for our images a second, divided by PyTorch's.
const LEAST_RATIO: f64 = 1.0;

/// The goal for the share of the time in which the GPU is busy.
const LEAST_BUSY: f64 = 0.9;

#[derive(Parser)]
struct Args {
    /// The networks, or all of them
    networks: Vec<NetworkName>,
    #[arg(long, default_value_t = Choice::Gpu)]
    device: Choice,
    /// The side of the images
    #[arg(long, default_value_t = 112)]
    pixels: u32,
    /// The numbers of images in a batch: all networks are measured with the first, and then with
    /// the next
    #[arg(long, value_delimiter = ',', default_value = "512,32")]
    batches: Vec<usize>,
    /// For how long each figure is measured, after the kernels are compiled
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The most seconds that a figure may take, with what must be started and compiled for it
    #[arg(long, default_value_t = 90.0)]
    limit: f64,
    /// The most seconds that everything may take: what is not measured then is left out
    #[arg(long, default_value_t = 3600.0)]
    within: f64,
    /// Compute with Burn's operations alone, to see what those of this crate are worth
    #[arg(long)]
    burn: bool,
    /// List the kernels of a step of training
    #[arg(long)]
    kernels: bool,
    /// A Python that may have PyTorch, torchvision and CUDA
    #[arg(long, env = "MASKLINE_BENCH_PYTHON", default_value = "python3")]
    python: String,
    /// What measures PyTorch
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/gpu_speed/pytorch.py"))]
    script: PathBuf,
    /// Measure what the standard input asks for, as this program itself does for its table
    #[arg(long, hide = true)]
    answer: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.answer {
        true => answer(&args),
        false => compare(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers the questions on the standard input, as the process of a [`Worker`].
fn answer(args: &Args) -> Result<(), Box<dyn Error>> {
    let compute = device::choose(args.device)?;
    println!("{}", compute.name);
    for line in io::stdin().lines() {
        let question: Question = serde_json::from_str(&line?)?;
        let speed = measure::speed(question, args, &compute.device)?;
        println!("{}", serde_json::to_string(&speed)?);
    }
    Ok(())
}

/// Prints the table, each row as soon as it is measured.
fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let networks = match args.networks.as_slice() {
        [] => NetworkName::ALL.to_vec(),
        named => named.to_vec(),
    };
    let mut comparison = Comparison::start(args)?;
    println!(
        "{:<20}{:>6}  {:<11}{:>9}{:>7}{:>11}{:>9}{:>9}{:>9}{:>7}",
        "network",
        "batch",
        "work",
        "images/s",
        "busy",
        "first use",
        "kernels",
        "CPU",
        "PyTorch",
        "ratio"
    );
    let mut rows = vec![];
    for &batch in &args.batches {
        for &network in &networks {
            for work in Work::ALL {
                rows.push(comparison.row(Question {
                    work,
                    network,
                    batch,
                }));
            }
            comparison.own.stop();
        }
    }
    for remark in &comparison.remarks {
        println!("{remark}");
    }
    print_goal(&args.batches, &rows);
    Ok(())
}

struct Comparison<'a> {
    args: &'a Args,
    began: Instant,
    own: Worker,
    pytorch: Option<Worker>,
    /// What is to be said below the table.
    remarks: Vec<String>,
}

/// What a row says of the goal.
struct Row {
    question: Question,
    /// Our images a second divided by PyTorch's.
    ratio: Option<f64>,
    busy: Option<f64>,
}

impl<'a> Comparison<'a> {
    /// Says what is compared. Fails if there is no device.
    fn start(args: &'a Args) -> Result<Self, Box<dyn Error>> {
        let mut own = Command::new(env::current_exe()?);
        own.arg("--answer").args(env::args_os().skip(1));
        let mut pytorch = Command::new(&args.python);
        pytorch
            .arg(&args.script)
            .args([args.pixels.to_string(), args.seconds.to_string()])
            // It is not to leave compiled scripts in the source tree.
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let mut comparison = Self {
            args,
            began: Instant::now(),
            own: Worker::new(own),
            pytorch: None,
            remarks: vec![],
        };
        let until = comparison.until();
        let device = comparison.own.start(until)?;
        let mut pytorch = Worker::new(pytorch);
        let beside = match pytorch.start(comparison.until()) {
            Ok(about) => {
                comparison.pytorch = Some(pytorch);
                about
            }
            Err(reason) => {
                comparison.remarks.push(format!("PyTorch: {reason}"));
                "no PyTorch".into()
            }
        };
        println!("{device}, beside {beside}; {} px", args.pixels);
        Ok(comparison)
    }

    /// When everything must be measured.
    fn end(&self) -> Instant {
        self.began + Duration::from_secs_f64(self.args.within)
    }

    /// When the next figure must be measured.
    fn until(&self) -> Instant {
        let limit = Duration::from_secs_f64(self.args.limit);
        self.end().min(Instant::now() + limit)
    }

    /// Measures a row and prints it.
    fn row(&mut self, question: Question) -> Row {
        let Question {
            work,
            network,
            batch,
        } = question;
        if Instant::now() >= self.end() {
            self.remark("There was no time for the rows that are missing".into());
            return Row {
                question,
                ratio: None,
                busy: None,
            };
        }
        show(&format!("{network:<20}{batch:>6}  {work:<11}"));
        let until = self.until();
        let own = self.own.ask::<Speed>(&question, until);
        let cell = |text: fn(&Speed) -> Option<String>| own.as_ref().ok().and_then(text);
        show(&format!(
            "{:>9}{:>7}{:>11}{:>9}{:>9}",
            or_dash(cell(|speed| Some(format!("{:.0}", speed.images)))),
            or_dash(cell(|speed| speed.busy.map(percent))),
            or_dash(cell(|speed| Some(format!("{:.1} s", speed.first)))),
            or_dash(cell(|speed| {
                let launched: f64 = speed.cost.kernels.values().sum();
                Some(format!("{launched:.0}"))
            })),
            or_dash(cell(|speed| {
                let seconds = speed.cost.processor?;
                Some(format!("{:.0} ms", seconds * 1e3))
            })),
        ));
        let until = self.until();
        let pytorch = self.pytorch.as_mut().filter(|_| Instant::now() < until);
        let pytorch = pytorch.map(|pytorch| pytorch.ask::<f64>(&question, until));
        let theirs = pytorch.as_ref().and_then(|images| images.as_ref().ok());
        let ratio = own.as_ref().ok().zip(theirs);
        let ratio = ratio.map(|(own, theirs)| own.images / theirs);
        println!(
            "{:>9}{:>7}",
            or_dash(theirs.map(|images| format!("{images:.0}"))),
            or_dash(ratio.map(|ratio| format!("{ratio:.2}"))),
        );
        let figure = format!("{work} of {network} in batches of {batch}");
        if let Some(Err(reason)) = &pytorch {
            self.remark(format!("PyTorch's {figure}: {reason}"));
        }
        let busy = match own {
            Ok(speed) => {
                if self.args.kernels && work == Work::Training {
                    list(&speed.cost.kernels);
                }
                speed.busy
            }
            Err(reason) => {
                self.remark(format!("Our {figure}: {reason}"));
                None
            }
        };
        Row {
            question,
            ratio,
            busy,
        }
    }

    /// Keeps something to be said once, below the table.
    fn remark(&mut self, remark: String) {
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }
}

/// Prints a part of a line at once.
fn show(text: &str) {
    print!("{text}");
    let _ = io::stdout().flush();
}

/// Prints the kernels, the most frequent first.
fn list(kernels: &BTreeMap<String, f64>) {
    let mut kernels: Vec<_> = kernels.iter().collect();
    kernels.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    for (name, times) in kernels {
        println!("{times:>10.1}  {name}");
    }
}

/// Prints which networks reach the goal, and how far the others are.
fn print_goal(batches: &[usize], rows: &[Row]) {
    println!(
        "The goal is {LEAST_RATIO:.2} times PyTorch's images a second or more, with the GPU busy for {} \
         of the time or more. In brackets: both figures",
        percent(LEAST_BUSY)
    );
    for &batch in batches {
        for work in Work::ALL {
            let (mut reached, mut missed, mut unknown) = (vec![], vec![], vec![]);
            for row in rows {
                let question = row.question;
                if (question.work, question.batch) != (work, batch) {
                    continue;
                }
                let ratio = or_dash(row.ratio.map(|ratio| format!("{ratio:.2}")));
                let busy = or_dash(row.busy.map(percent));
                let text = format!("{} ({ratio}, {busy})", question.network);
                match row.reaches_goal() {
                    Some(true) => reached.push(text),
                    Some(false) => missed.push(text),
                    None => unknown.push(text),
                }
            }
            let verdicts = [
                ("reached by", reached),
                ("missed by", missed),
                ("unknown for", unknown),
            ];
            let verdicts = verdicts.iter().filter(|(_, networks)| !networks.is_empty());
            let verdicts: Vec<String> = verdicts
                .map(|(verdict, networks)| format!("{verdict} {}", networks.join(", ")))
                .collect();
            println!("  {work} in batches of {batch}: {}", verdicts.join("; "));
        }
    }
}

impl Row {
    /// `None` if what was measured does not tell.
    fn reaches_goal(&self) -> Option<bool> {
        let fast = self.ratio.map(|ratio| ratio >= LEAST_RATIO);
        let busy = self.busy.map(|busy| busy >= LEAST_BUSY);
        match (fast, busy) {
            (Some(true), Some(true)) => Some(true),
            (Some(false), _) | (_, Some(false)) => Some(false),
            _ => None,
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".into())
}
