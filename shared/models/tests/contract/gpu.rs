//! What a GPU computes is what the CPU computes. The GPU is a driver in software; `tests/gpu` runs
//! the comparisons on the machine's own.

mod norm;
mod ops;
mod optimizer;

use std::{collections::BTreeMap, time::Instant};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use maskline_messages::{NetworkName, View};
use maskline_models::{
    ModelError, Network,
    device::{self, Choice, Compute},
    input,
    prediction::training_loss,
    weights::{self, Card},
};
use maskline_test_support::vulkan::{Software, on_gpu};
use safetensors::SafeTensors;

use crate::{
    difference,
    networks::{collected, images_of, vec},
};

/// The side of the images, in pixels.
const SIDE: usize = 48;

/// The number of images in a batch: few, because the more values there are, the more of them lie at
/// the corner of a ReLU.
const IMAGES: usize = 2;

/// The most that logits may be off, relative to the largest.
const LOGITS: f32 = 1e-5;

/// The most that the running statistics of a batch norm may be off when they are computed anew.
const STATISTICS: f32 = 1e-4;

/// The most that a loss may be off, relative to it.
const LOSS: f32 = 1e-5;

/// The most that the gradient of a parameter may be off, as the relative distance in L2.
const GRADIENTS: f64 = 1e-3;

/// A gradient has no digits to compare if it is much shorter than the longest. That of a batch norm's
/// bias is zero apart from rounding where another batch norm follows.
const SHORTEST: f64 = 1e-3;

/// The networks that are tried. With some seeds a value lies so near the corner of a ReLU that
/// rounding decides its side, and with it the gradients of all layers before. A gradient that is
/// computed wrongly is off with every seed.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=8;

macro_rules! networks {
    ($($test:ident: $network:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                let test = concat!("gpu::", stringify!($test));
                on_gpu(test, Software::Allowed, || compare(NetworkName::$network));
            }
        )*
    };
}

networks! {
    a_gpu_computes_mobilenet_v2_as_the_cpu_does: MobilenetV2,
    a_gpu_computes_mobilenet_v3_small_as_the_cpu_does: MobilenetV3Small,
    a_gpu_computes_mnasnet_as_the_cpu_does: Mnasnet1_0,
    a_gpu_computes_efficientnet_b0_as_the_cpu_does: EfficientnetB0,
    a_gpu_computes_efficientnet_lite0_as_the_cpu_does: EfficientnetLite0,
}

#[test]
fn a_gpu_computes_pixels_from_bytes_as_the_cpu_does() {
    let test = "gpu::a_gpu_computes_pixels_from_bytes_as_the_cpu_does";
    on_gpu(test, Software::Allowed, || {
        // The side is odd, so that the last number has fewer than four bytes.
        let side = 41;
        let pixels: Vec<u8> = (0..3 * input::len(side)).map(|at| (at * 7) as u8).collect();
        let on = |device: &Device| vec(input::tensor(pixels.clone(), side, device));
        let device = gpu().device;
        let (on_gpu, on_cpu) = (on(&device), on(&Device::flex()));
        assert!(difference(&on_gpu, &on_cpu) < 1e-6);
        assert_eq!(on_gpu, on(&device.autodiff()));
    });
}

fn gpu() -> Compute {
    device::choose(Choice::Gpu).expect("a GPU")
}

fn compare(name: NetworkName) {
    let began = Instant::now();
    let (gpu, cpu) = (gpu().device, Device::flex());
    let network = |seed, device: &Device| {
        Network::new(name, 2, seed, &device.clone().autodiff()).without_dropping()
    };
    let logits = |device: &Device| {
        let images = images_of(SIDE, "images", IMAGES, device);
        vec(network(1, device).valid().forward(images))
    };
    let logits = difference(&logits(&gpu), &logits(&cpu));
    let statistics = |device| statistics(&network(1, device), device);
    let statistics = statistics_off(&statistics(&gpu), &statistics(&cpu));
    let mut least: BTreeMap<String, f64> = BTreeMap::new();
    let mut loss = f32::INFINITY;
    let mut seeds = 0;
    for seed in SEEDS {
        let learned = |device| learned(&network(seed, device), device);
        let ((on_gpu, gradients), (on_cpu, expected)) = (learned(&gpu), learned(&cpu));
        assert!(
            gradients.keys().eq(expected.keys()),
            "of the same parameters"
        );
        loss = loss.min((on_gpu - on_cpu).abs() / on_cpu);
        for (parameter, off) in distances(&gradients, &expected) {
            let least = least.entry(parameter).or_insert(f64::INFINITY);
            *least = least.min(off);
        }
        seeds += 1;
        if least.values().all(|off| *off < GRADIENTS) && loss < LOSS {
            break;
        }
    }
    let worst = least.iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
    let (parameter, gradient) = worst.expect("a network has parameters");
    println!(
        "{name:<20} off by: logits {logits:.0e}, statistics {statistics:.0e}, loss {loss:.0e}, \
         each of {} gradients at most {gradient:.0e} ({seeds} seeds, {:.0} s)",
        least.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(logits < LOGITS, "{name}: the logits are off");
    assert!(statistics < STATISTICS, "{name}: the statistics are off");
    assert!(loss < LOSS, "{name}: the loss is off");
    assert!(
        *gradient < GRADIENTS,
        "{name}: the gradient of {parameter} is off"
    );
}

/// The statistics of each batch norm, computed anew.
fn statistics(network: &Network, device: &Device) -> BTreeMap<String, Vec<f32>> {
    let batches = ["first", "second"].map(|name| images_of(SIDE, name, IMAGES, device));
    let network = network.recalibrated(batches).unwrap();
    let classes = ["a", "b"].map(|class| class.parse().unwrap()).to_vec();
    let card = Card::new(network.name(), classes, SIDE as u32, View::Face);
    let file = weights::to_safetensors(&network, &card).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let running = tensors.tensors().into_iter();
    let running = running.filter(|(name, _)| name.contains(".running_"));
    let values = |bytes: &[u8]| {
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect()
    };
    running
        .map(|(name, tensor)| (name, values(tensor.data())))
        .collect()
}

/// How far the statistics are off: the means relative to the largest deviation of their batch norm,
/// because some are zero apart from rounding, and the variances relative to the largest.
fn statistics_off(
    found: &BTreeMap<String, Vec<f32>>,
    expected: &BTreeMap<String, Vec<f32>>,
) -> f32 {
    assert!(found.keys().eq(expected.keys()) && found.len() > 20);
    let off = |(name, values): (&String, &Vec<f32>)| {
        let expected_values = &expected[name];
        let Some(norm) = name.strip_suffix(".running_mean") else {
            return difference(values, expected_values);
        };
        let variances = &expected[&format!("{norm}.running_var")];
        let deviation = variances.iter().fold(0.0_f32, |most, x| most.max(x.sqrt()));
        let off = values
            .iter()
            .zip(expected_values)
            .map(|(a, b)| (a - b).abs());
        off.fold(0.0, f32::max) / deviation
    };
    found.iter().map(off).fold(0.0, f32::max)
}

/// The loss of a training step, and the gradient of every parameter.
fn learned(network: &Network, device: &Device) -> (f32, BTreeMap<String, Vec<f32>>) {
    let images = images_of(SIDE, "images", IMAGES, &device.clone().autodiff());
    let loss = training_loss(network.forward(images), &[0, 1], 0.1);
    let value = vec(loss.clone().inner())[0];
    (value, collected(network, &loss.backward()))
}

/// The distance of each gradient, relative to its length.
fn distances(
    found: &BTreeMap<String, Vec<f32>>,
    expected: &BTreeMap<String, Vec<f32>>,
) -> BTreeMap<String, f64> {
    let length = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    };
    let own = |expected: &Vec<f32>| length(&mut expected.iter().copied());
    let longest = expected.values().map(own).fold(0.0, f64::max);
    let distance = |(name, expected): (&String, &Vec<f32>)| {
        let off = found[name].iter().zip(expected).map(|(a, b)| a - b);
        let distance = length(&mut off.into_iter()) / own(expected).max(SHORTEST * longest);
        (name.clone(), distance)
    };
    expected.iter().map(distance).collect()
}

#[test]
fn a_tensor_that_is_too_large_is_an_error_of_memory_and_the_device_goes_on() {
    let test = "gpu::a_tensor_that_is_too_large_is_an_error_of_memory_and_the_device_goes_on";
    on_gpu(test, Software::Allowed, || {
        let compute = gpu();
        // The driver's buffers have 2 GiB at most.
        let large = Tensor::<2>::ones([1 << 15, 1 << 15], &compute.device);
        let error = device::read(large.sum_dim(0)).unwrap_err();
        assert!(matches!(error, ModelError::DeviceMemory(_)), "{error}");
        assert!(compute.answers());
    });
}

#[test]
fn statistics_for_which_there_is_no_memory_are_an_error() {
    let test = "gpu::statistics_for_which_there_is_no_memory_are_an_error";
    on_gpu(test, Software::Allowed, || {
        let device = gpu().device;
        let network = Network::new(NetworkName::MobilenetV3Small, 2, 1, &device);
        let images = || images_of(SIDE, "images", IMAGES, &device);
        // It is used again below, so that no kernel computes its values without keeping them.
        let large = Tensor::<2>::ones([1 << 15, 1 << 15], &device);
        let one: Tensor<4> = large
            .clone()
            .sum_dim(0)
            .narrow(1, 0, 1)
            .reshape([1usize; 4]);
        let error = network.recalibrated([images() * one]).unwrap_err();
        assert!(matches!(error, ModelError::DeviceMemory(_)), "{error}");
        assert!(device::read(large).is_err());
        network.recalibrated([images()]).unwrap();
    });
}

#[test]
fn a_gpu_is_opened_once_and_by_its_number() {
    let test = "gpu::a_gpu_is_opened_once_and_by_its_number";
    on_gpu(test, Software::Allowed, || {
        let folder = tempfile::tempdir().unwrap();
        device::keep_kernels_in(&folder.path().join("kernels"));
        let first = gpu();
        assert!(first.name.starts_with("gpu (llvmpipe"), "{}", first.name);
        assert_eq!(gpu().device, first.device);
        let numbered = device::choose(Choice::NthGpu(0)).unwrap();
        assert!(
            numbered.name.starts_with("gpu:0 (llvmpipe"),
            "{}",
            numbered.name
        );
        assert!(first.answers() && numbered.answers());
        let error = device::choose(Choice::NthGpu(3)).unwrap_err().to_string();
        assert!(
            error.starts_with("gpu:3: there is one GPU: 0 llvmpipe"),
            "{error}"
        );
    });
}

#[test]
fn software_is_no_gpu_unless_it_may_be_one() {
    let test = "gpu::software_is_no_gpu_unless_it_may_be_one";
    on_gpu(test, Software::Refused, || {
        assert!(!device::choose(Choice::Auto).unwrap().is_gpu);
        let error = device::choose(Choice::Gpu).unwrap_err().to_string();
        let reason = "renders in software, which MASKLINE_SOFTWARE_GPU=1 allows";
        assert!(error.contains(reason), "{error}");
        let error = device::choose(Choice::NthGpu(0)).unwrap_err().to_string();
        assert!(error.starts_with("gpu:0: there is no GPU; "), "{error}");
        assert!(error.contains("use the device `cpu`"), "{error}");
    });
}
