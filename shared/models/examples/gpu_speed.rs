//! Prints how many images a second each network trains on and predicts on a GPU, beside PyTorch
//! with CUDA if there is one, and what a step of training costs: how many kernels it launches, and
//! how much time of the processor the whole program takes. `tests/gpu` runs it.
//!
//!     cargo run --release -p maskline-models --features native-gpu --example gpu_speed -- --help
//!
//! A step of training brings a batch to the device, computes forwards and backwards, and moves the
//! weights by AdamW and their mean after them, as a run from random weights with the usual settings
//! does. A prediction brings a batch and reads
//! its logits. On a driver in software, which computes on the processor, a GPU's
//! share of the time can't be told from the program's; the number of kernels is that of any GPU with
//! the same features of this crate.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    process::{Command, ExitCode},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use clap::Parser;
use cubecl::{
    config::{TypeNameFormatLevel, type_name_format},
    logging::{LaunchObservation, LaunchObserver},
};
use maskline_messages::{NetworkName, Start, TrainingChoices};
use maskline_models::{
    ModelError, Network,
    device::{self, Choice},
    input,
    optimizer::Optimizer,
    prediction::training_loss,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of steps after which their outputs are read, as in training.
const STEPS_BETWEEN_READS: usize = 16;

/// The number of steps whose kernels and time are counted.
const COUNTED: usize = 4;

#[derive(Parser)]
struct Args {
    /// The networks, or all of them
    networks: Vec<NetworkName>,
    #[arg(long, default_value_t = Choice::Gpu)]
    device: Choice,
    /// The side of the images
    #[arg(long, default_value_t = 112)]
    pixels: u32,
    /// The numbers of images in a batch
    #[arg(long, value_delimiter = ',', default_value = "64,512")]
    batches: Vec<usize>,
    /// For how long each figure is measured, after the kernels are compiled
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Compute with Burn's operations alone, to see what those of this crate are worth
    #[arg(long)]
    burn: bool,
    /// List the kernels of a step of training
    #[arg(long)]
    kernels: bool,
    /// A Python that may have PyTorch, torchvision and CUDA
    #[arg(long, env = "MASKLINE_BENCH_PYTHON", default_value = "python3")]
    python: String,
}

/// Images a second, the seconds until the first result, and what a step costs.
struct Speed {
    images: f64,
    first: f64,
    cost: Cost,
}

/// What a step costs.
struct Cost {
    /// The kernels that are launched, by name.
    kernels: BTreeMap<String, f64>,
    /// Seconds of the processor, of all threads together.
    processor: f64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<ModelError>> {
    let networks = match args.networks.as_slice() {
        [] => NetworkName::ALL.to_vec(),
        named => named.to_vec(),
    };
    let torch = pytorch(args, &networks);
    let compute = device::choose(args.device)?;
    println!("{}, {} px, images a second", compute.name, args.pixels);
    println!(
        "{:<20}{:>6}{:>10}{:>9}{:>9}{:>9}{:>10}{:>9}{:>10}{:>9}",
        "network",
        "batch",
        "training",
        "PyTorch",
        "kernels",
        "CPU",
        "predicts",
        "PyTorch",
        "first use",
        "and then"
    );
    for name in networks {
        for &batch in &args.batches {
            let training = training(name, batch, args, &compute.device);
            let prediction = prediction(name, batch, args, &compute.device);
            let torch = torch.get(&(name.to_string(), batch));
            let torch = |at: usize| torch.map_or("–".into(), |both| format!("{:.0}", both[at]));
            let first = |speed: &Result<Speed, Box<ModelError>>| match speed {
                Ok(speed) => format!("{:.1} s", speed.first),
                Err(_) => "–".into(),
            };
            let cost = |text: fn(&Cost) -> String| match &training {
                Ok(speed) => text(&speed.cost),
                Err(_) => "–".into(),
            };
            println!(
                "{name:<20}{batch:>6}{:>10}{:>9}{:>9}{:>9}{:>10}{:>9}{:>10}{:>9}",
                cell(&training),
                torch(0),
                cost(|cost| format!("{:.0}", cost.kernels.values().sum::<f64>())),
                cost(|cost| format!("{:.0} ms", cost.processor * 1e3)),
                cell(&prediction),
                torch(1),
                first(&training),
                first(&prediction),
            );
            if let (Ok(speed), true) = (&training, args.kernels) {
                list(&speed.cost.kernels);
            }
        }
    }
    Ok(())
}

/// Prints the kernels, the most frequent first.
fn list(kernels: &BTreeMap<String, f64>) {
    let mut kernels: Vec<_> = kernels.iter().collect();
    kernels.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    for (name, times) in kernels {
        println!("{times:>10.1}  {name}");
    }
}

fn cell(speed: &Result<Speed, Box<ModelError>>) -> String {
    match speed {
        Ok(speed) => format!("{:.0}", speed.images),
        Err(error) if matches!(**error, ModelError::DeviceMemory(_)) => "no memory".into(),
        Err(error) => {
            eprintln!("{error}");
            "error".into()
        }
    }
}

fn training(
    name: NetworkName,
    batch: usize,
    args: &Args,
    device: &Device,
) -> Result<Speed, Box<ModelError>> {
    let device = device.clone().autodiff();
    let mut network = Network::new(name, 2, 1, &device);
    if args.burn {
        network = network.with_burn_kernels();
    }
    let settings = TrainingChoices {
        start: Some(Start::Scratch),
        ..TrainingChoices::default()
    }
    .settings(name.into());
    let mut optimizer = Optimizer::new(&settings);
    if args.burn {
        optimizer = optimizer.with_burn_kernels();
    }
    let values = values(batch, args.pixels);
    let classes: Vec<usize> = (0..batch).map(|image| image % 2).collect();
    let step = || {
        let logits = network.forward(input::tensor(values.clone(), args.pixels, &device));
        let loss = training_loss(logits.clone(), &classes, settings.label_smoothing);
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(1e-3, network.clone(), gradients);
        logits.inner()
    };
    measure(batch, args, STEPS_BETWEEN_READS, &device, step)
}

fn prediction(
    name: NetworkName,
    batch: usize,
    args: &Args,
    device: &Device,
) -> Result<Speed, Box<ModelError>> {
    let mut network = Network::new(name, 2, 1, &device.clone().autodiff()).valid();
    if args.burn {
        network = network.with_burn_kernels();
    }
    let values = values(batch, args.pixels);
    let predict = || network.forward(input::tensor(values.clone(), args.pixels, device));
    measure(batch, args, 1, device, predict)
}

fn values(batch: usize, pixels: u32) -> Vec<u8> {
    let count = batch * input::len(pixels);
    (0..count).map(|at| (at % 251) as u8).collect()
}

/// Repeats `step`, which gives the logits of a batch, and reads them after so many steps.
fn measure(
    batch: usize,
    args: &Args,
    between_reads: usize,
    device: &Device,
    mut step: impl FnMut() -> Tensor<2>,
) -> Result<Speed, Box<ModelError>> {
    let began = Instant::now();
    // The second step needs what the first has written.
    for _ in 0..2 {
        device::read(step())?;
    }
    let first = began.elapsed().as_secs_f64();
    let cost = cost(device, &mut step)?;
    let limit = Duration::from_secs_f64(args.seconds);
    let (began, mut steps) = (Instant::now(), 0);
    while began.elapsed() < limit {
        let unread: Vec<_> = (0..between_reads).map(|_| step()).collect();
        steps += unread.len();
        for logits in unread {
            device::read(logits)?;
        }
    }
    Ok(Speed {
        images: (steps * batch) as f64 / began.elapsed().as_secs_f64(),
        first,
        cost,
    })
}

/// Repeats `step`, which has run before, and counts what it costs.
fn cost(device: &Device, step: &mut impl FnMut() -> Tensor<2>) -> Result<Cost, Box<ModelError>> {
    let launches = Arc::new(Launches::default());
    let finish = || {
        let finished = device.sync();
        finished.map_err(|error| ModelError::Output(error.to_string().into()))
    };
    finish()?;
    let observation = LaunchObservation::new(launches.clone());
    let before = processor_seconds();
    let unread: Vec<_> = (0..COUNTED).map(|_| step()).collect();
    for logits in unread {
        device::read(logits)?;
    }
    finish()?;
    let processor = (processor_seconds() - before) / COUNTED as f64;
    drop(observation);
    let counted = launches.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kernels = BTreeMap::new();
    for (name, times) in counted.iter() {
        let name = type_name_format(name, TypeNameFormatLevel::Balanced);
        *kernels.entry(name).or_default() += *times as f64 / COUNTED as f64;
    }
    Ok(Cost { kernels, processor })
}

/// How often each kernel was launched.
#[derive(Default)]
struct Launches(Mutex<HashMap<&'static str, usize>>);

impl LaunchObserver for Launches {
    fn launched(&self, kernel: &'static str) {
        let mut launches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *launches.entry(kernel).or_default() += 1;
    }
}

/// The time that this process has taken of the processor. It is not a number where the system has no
/// such clock.
fn processor_seconds() -> f64 {
    #[cfg(unix)]
    {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the call writes the time that it is given, and nothing else.
        if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } == 0 {
            return time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
        }
    }
    f64::NAN
}

/// PyTorch's images a second in training and prediction, by network and batch. Empty without
/// PyTorch or CUDA.
fn pytorch(args: &Args, networks: &[NetworkName]) -> HashMap<(String, usize), [f64; 2]> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gpu_speed.py");
    let batches: Vec<String> = args.batches.iter().map(usize::to_string).collect();
    let run = Command::new(&args.python)
        .arg(script)
        .args([
            args.pixels.to_string(),
            batches.join(","),
            args.seconds.to_string(),
        ])
        .args(networks.iter().map(NetworkName::to_string))
        .output();
    let printed = run.map(|run| String::from_utf8_lossy(&run.stdout).into_owned());
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[name, batch, training, prediction] = words.as_slice() else {
            return None;
        };
        let speeds = [training.parse().ok()?, prediction.parse().ok()?];
        Some(((name.to_owned(), batch.parse().ok()?), speeds))
    };
    printed
        .unwrap_or_default()
        .lines()
        .filter_map(line)
        .collect()
}
