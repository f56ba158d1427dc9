//! Prints how many images a second each network trains on and predicts on a GPU, beside PyTorch
//! with CUDA if there is one. `tests/gpu` runs it.
//!
//!     cargo run --release -p maskline-models --features native-gpu --example gpu_speed -- --help
//!
//! A step of training brings a batch to the device, computes forwards and backwards, and moves the
//! weights by AdamW. A prediction brings a batch and reads its logits.

use std::{
    collections::HashMap,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use burn::{
    module::Module,
    optim::{AdamWConfig, GradientsParams},
    tensor::Device,
};
use clap::Parser;
use maskline_messages::NetworkName;
use maskline_models::{
    ModelError, Network,
    device::{self, Choice},
    input,
    prediction::training_loss,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of steps after which their outputs are read, as in training.
const STEPS_BETWEEN_READS: usize = 16;

/// The label smoothing, as in a training run with the default settings.
const SMOOTHING: f32 = 0.1;

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
    /// A Python that may have PyTorch, torchvision and CUDA
    #[arg(long, env = "MASKLINE_BENCH_PYTHON", default_value = "python3")]
    python: String,
}

/// Images a second, and the seconds until the first result.
struct Speed {
    images: f64,
    first: f64,
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
        "{:<20}{:>6}{:>10}{:>9}{:>10}{:>9}{:>10}{:>9}",
        "network", "batch", "training", "PyTorch", "predicts", "PyTorch", "first use", "and then"
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
            println!(
                "{name:<20}{batch:>6}{:>10}{:>9}{:>10}{:>9}{:>10}{:>9}",
                cell(&training),
                torch(0),
                cell(&prediction),
                torch(1),
                first(&training),
                first(&prediction),
            );
        }
    }
    Ok(())
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
    let mut optimizer = AdamWConfig::new().init();
    let values = values(batch, args.pixels);
    let classes: Vec<usize> = (0..batch).map(|image| image % 2).collect();
    let step = || {
        let logits = network.forward(input::tensor(values.clone(), args.pixels, &device));
        let loss = training_loss(logits.clone(), &classes, SMOOTHING);
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(1e-3, network.clone(), gradients);
        logits.inner()
    };
    measure(batch, args, STEPS_BETWEEN_READS, step)
}

fn prediction(
    name: NetworkName,
    batch: usize,
    args: &Args,
    device: &Device,
) -> Result<Speed, Box<ModelError>> {
    let network = Network::new(name, 2, 1, &device.clone().autodiff()).valid();
    let values = values(batch, args.pixels);
    let predict = || network.forward(input::tensor(values.clone(), args.pixels, device));
    measure(batch, args, 1, predict)
}

fn values(batch: usize, pixels: u32) -> Vec<f32> {
    let count = batch * input::len(pixels);
    (0..count).map(|at| (at % 251) as f32 / 251.0).collect()
}

/// Repeats `step`, which gives the logits of a batch, and reads them after so many steps.
fn measure(
    batch: usize,
    args: &Args,
    between_reads: usize,
    mut step: impl FnMut() -> burn::tensor::Tensor<2>,
) -> Result<Speed, Box<ModelError>> {
    let began = Instant::now();
    // The second step needs what the first has written.
    for _ in 0..2 {
        device::read(step())?;
    }
    let first = began.elapsed().as_secs_f64();
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
    })
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
