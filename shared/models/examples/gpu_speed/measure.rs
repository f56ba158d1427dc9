//! Measures our own networks on a device.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, iter,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use cubecl::{
    config::{TypeNameFormatLevel, type_name_format},
    logging::{LaunchObservation, LaunchObserver},
};
use maskline_messages::{NetworkName, Start, TrainingChoices};
use maskline_models::{
    ModelError, Network, device, input, optimizer::Optimizer, prediction::training_loss,
};
use serde::{Deserialize, Serialize};

use crate::{Args, busy::Sampler};

/// The number of steps after which their outputs are read, as in training.
const STEPS_BETWEEN_READS: usize = 16;

/// The number of steps whose kernels and time are counted.
const COUNTED: usize = 4;

/// What is to be measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Question {
    pub work: Work,
    pub network: NetworkName,
    pub batch: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Training,
    Prediction,
}

impl Work {
    pub const ALL: [Self; 2] = [Self::Training, Self::Prediction];
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Training => "training",
            Self::Prediction => "prediction",
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Speed {
    /// Images a second.
    pub images: f64,
    /// The seconds until the first results: they take kernels that must be compiled.
    pub first: f64,
    /// The share of the time (0–1) in which the GPU computed, after that.
    pub busy: Option<f64>,
    pub cost: Cost,
}

/// What a step costs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cost {
    /// How often each kernel is launched, by its name.
    pub kernels: BTreeMap<String, f64>,
    /// Seconds of the processor, of all threads together.
    pub processor: Option<f64>,
}

/// Measures a network on a device.
///
/// # Errors
/// If the device can't compute it.
pub fn speed(question: Question, args: &Args, device: &Device) -> Result<Speed, Box<ModelError>> {
    let measure = match question.work {
        Work::Training => training,
        Work::Prediction => prediction,
    };
    measure(question.network, question.batch, args, device)
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
    measure(batch, args, &device, step, read_in_groups)
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
    measure(batch, args, device, predict, read_one_behind)
}

fn values(batch: usize, pixels: u32) -> Vec<u8> {
    let count = batch * input::len(pixels);
    (0..count).map(|at| (at % 251) as u8).collect()
}

/// Something that gives the logits of a batch.
type Step<'a> = dyn FnMut() -> Tensor<2> + 'a;

/// Repeats a step until then, and reads the logits as a training does.
fn read_in_groups(step: &mut Step<'_>, until: Instant) -> Result<usize, ModelError> {
    let mut steps = 0;
    while Instant::now() < until {
        let unread: Vec<_> = (0..STEPS_BETWEEN_READS).map(|_| step()).collect();
        steps += unread.len();
        for logits in unread {
            device::read(logits)?;
        }
    }
    Ok(steps)
}

/// Repeats a step until then, and reads the logits as an evaluation does.
fn read_one_behind(step: &mut Step<'_>, until: Instant) -> Result<usize, ModelError> {
    let mut steps = 0;
    let outputs = iter::from_fn(|| (Instant::now() < until).then(&mut *step));
    for logits in device::one_behind(outputs) {
        device::read(logits)?;
        steps += 1;
    }
    Ok(steps)
}

/// Measures `step`, which gives the logits of a batch. `repeat` repeats it until then, and returns how
/// often it did.
fn measure(
    batch: usize,
    args: &Args,
    device: &Device,
    mut step: impl FnMut() -> Tensor<2>,
    repeat: fn(&mut Step<'_>, Instant) -> Result<usize, ModelError>,
) -> Result<Speed, Box<ModelError>> {
    let began = Instant::now();
    // The second step needs what the first has written.
    for _ in 0..2 {
        device::read(step())?;
    }
    let first = began.elapsed().as_secs_f64();
    let cost = cost(device, &mut step)?;
    let sampler = Sampler::start();
    let began = Instant::now();
    let steps = repeat(&mut step, began + Duration::from_secs_f64(args.seconds))?;
    let images = (steps * batch) as f64 / began.elapsed().as_secs_f64();
    Ok(Speed {
        images,
        first,
        busy: sampler.and_then(Sampler::stop),
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
    let after = processor_seconds();
    drop(observation);
    let counted = launches.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kernels = BTreeMap::new();
    for (name, times) in counted.iter() {
        let name = type_name_format(name, TypeNameFormatLevel::Balanced);
        *kernels.entry(name).or_default() += *times as f64 / COUNTED as f64;
    }
    let processor = after.zip(before);
    Ok(Cost {
        kernels,
        processor: processor.map(|(after, before)| (after - before) / COUNTED as f64),
    })
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

/// The time that this process has taken of the processor. `None` where the system has no such clock.
fn processor_seconds() -> Option<f64> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the call writes the time that it is given, and nothing else.
        if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } == 0 {
            return Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9);
        }
    }
    None
}
