//! Compares the images trained per second of our own operations, Burn's, and PyTorch.
//!
//!     tests/bench training
//!
//! A step is a forward and a backward pass, an AdamW update and a step of the mean of the
//! weights, as in a run from random weights with the usual settings, at 112 × 112 pixels, in
//! batches of 32, on two threads. PyTorch is measured if `python3`, or the interpreter
//! that MASKLINE_BENCH_PYTHON names, can import torchvision.
//! `cargo bench -p maskline-models -- mobilenet_v3_small` measures one network.

use std::{process::Command, time::Instant};

use burn::{
    optim::GradientsParams,
    tensor::{Device, Distribution, Tensor},
};
use maskline_messages::{NetworkName, Start, TrainingChoices, TrainingSettings};
use maskline_models::{Network, optimizer::Optimizer, prediction::training_loss};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIDE: usize = 112;
const BATCH: usize = 32;
const THREADS: usize = 2;

/// The number of steps that are measured, after one to warm up. Their median counts.
const STEPS: usize = 7;

/// Where PyTorch finds the networks that torchvision lacks.
const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torchvision");

const PYTORCH: &str = "
import statistics, sys, time, torch, torchvision
name, ema, side, batch, threads, steps = sys.argv[1], float(sys.argv[3]), *map(int, sys.argv[4:])
sys.path.append(sys.argv[2])
torch.set_num_threads(threads)
if name == 'efficientnet_lite0':  # torchvision has no such network.
    from efficientnet_lite0 import EfficientNetLite0 as network
else:
    network = getattr(torchvision.models, name)
network = network(num_classes=2).train()
optimizer = torch.optim.AdamW(network.parameters())
averaging = torch.optim.swa_utils.get_ema_multi_avg_fn(ema)
mean = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=averaging)
images, classes = torch.randn(batch, 3, side, side), torch.arange(batch) % 2
times = []
for _ in range(steps + 1):
    begin = time.perf_counter()
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(network(images), classes, label_smoothing=0.1)
    loss.backward()
    optimizer.step()
    mean.update_parameters(network)
    times.append(time.perf_counter() - begin)
print(batch / statistics.median(times[1:]))
";

fn main() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS);
    pool.build_global()
        .expect("nobody has made a thread pool yet");
    let asked: Vec<NetworkName> = std::env::args()
        .skip(1)
        .filter_map(|name| name.parse().ok())
        .collect();
    let networks = if asked.is_empty() {
        NetworkName::ALL.to_vec()
    } else {
        asked
    };
    let heads = [
        "network",
        "own",
        "Burn's",
        "own/Burn's",
        "PyTorch",
        "own/PyTorch",
    ];
    let [network, own, burn, gain, torch, against] = heads;
    println!("images/s, {SIDE} px, batches of {BATCH}, {THREADS} threads");
    println!("{network:<20}{own:>8}{burn:>8}{gain:>12}{torch:>9}{against:>13}");
    for name in networks {
        let network = Network::new(name, 2, 1, &Device::flex().autodiff());
        let settings = TrainingChoices {
            start: Some(Start::Scratch),
            ..TrainingChoices::default()
        }
        .settings(name.into());
        let own = images_per_second(network.clone(), &settings);
        let burn = images_per_second(network.with_burn_kernels(), &settings);
        let (torch, against) = match pytorch(name, &settings) {
            Some(torch) => (format!("{torch:.1}"), format!("{:.2}", own / torch)),
            None => ("–".into(), "–".into()),
        };
        println!(
            "{name:<20}{own:>8.1}{burn:>8.1}{:>12.2}{torch:>9}{against:>13}",
            own / burn
        );
    }
}

fn images_per_second(mut network: Network, settings: &TrainingSettings) -> f64 {
    let device = Device::flex().autodiff();
    let images = Tensor::random([BATCH, 3, SIDE, SIDE], Distribution::Default, &device);
    let classes: Vec<usize> = (0..BATCH).map(|image| image % 2).collect();
    let mut optimizer = Optimizer::new(settings);
    let mut seconds = Vec::with_capacity(STEPS + 1);
    for _ in 0..=STEPS {
        let begin = Instant::now();
        let loss = training_loss(
            network.forward(images.clone()),
            &classes,
            settings.label_smoothing,
        );
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(1e-3, network, gradients);
        seconds.push(begin.elapsed().as_secs_f64());
    }
    let mut measured = seconds.split_off(1);
    measured.sort_by(f64::total_cmp);
    BATCH as f64 / measured[STEPS / 2]
}

/// PyTorch's images per second, or `None` if there is no PyTorch.
fn pytorch(name: NetworkName, settings: &TrainingSettings) -> Option<f64> {
    let python = std::env::var("MASKLINE_BENCH_PYTHON").unwrap_or_else(|_| "python3".into());
    let numbers = [SIDE, BATCH, THREADS, STEPS].map(|number| number.to_string());
    let run = Command::new(python)
        .args(["-c", PYTORCH, name.as_str(), DEFINITIONS])
        .arg(settings.ema.to_string())
        .args(numbers)
        .output();
    String::from_utf8(run.ok()?.stdout)
        .ok()?
        .trim()
        .parse()
        .ok()
}
