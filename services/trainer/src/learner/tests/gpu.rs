//! Training on a GPU, which is a driver in software.

use maskline_models::device::{self, Choice};
use maskline_test_support::vulkan::{Software, on_gpu};

use super::*;

/// The least that a GPU computes.
const PIXELS: u32 = 40;

/// The most that the losses of an epoch of one step may be off: of the training images before the
/// step, relative to it, and of the validation images after it, relative to what the step changes.
/// Rounding decides on which side of the corner of a ReLU some values lie: the two sets of kernels of the
/// CPU differ by up to a quarter of what a step changes. Each further step makes that larger.
const TRAINING_LOSS: f32 = 1e-5;
const VALIDATION_LOSS: f32 = 0.5;

#[test]
fn a_run_on_a_gpu_is_the_same_again_wherever_it_is_interrupted() {
    let test = "learner::tests::gpu::a_run_on_a_gpu_is_the_same_again_wherever_it_is_interrupted";
    on_gpu(test, Software::Allowed, || {
        let examples = drawn([12, 12], PIXELS);
        let gpu = device::choose(Choice::Gpu).unwrap();
        let config = LearnerConfig {
            device: gpu.device,
            device_name: gpu.name,
            ..config(
                &examples,
                TrainingSettings {
                    pixels: PIXELS,
                    ..settings(1, Kind::Adamw)
                },
            )
        };
        let mut undisturbed = Learner::new(config.clone()).unwrap();
        to_the_end(&mut undisturbed, &examples);

        let interrupt = Interrupt::default();
        interrupt.stopping.cancel();
        let mut learner = Learner::new(config.clone()).unwrap();
        for _ in 0..2 {
            let advance = learner.advance(&examples, &interrupt).unwrap();
            assert_eq!(advance, Advance::Interrupted);
        }
        let snapshot = learner.snapshot().unwrap();
        let mut resumed = Learner::resume(config.clone(), snapshot.clone()).unwrap();
        to_the_end(&mut resumed, &examples);
        assert_eq!(result(&resumed, &examples), result(&undisturbed, &examples));

        // Another device goes on when the GPU is lost. Each kind of device draws other random values,
        // so nothing is dropped here.
        let left = LearnerConfig {
            device: Device::flex(),
            device_name: "cpu".to_owned(),
            ..config.clone()
        };
        let [on_gpu, on_cpu] = [config, left].map(|config| {
            let mut learner = Learner::resume(config, snapshot.clone()).unwrap();
            learner.network = learner.network.without_dropping();
            to_the_end(&mut learner, &examples);
            learner.progress().epochs[0].clone()
        });
        assert_eq!(on_cpu.device, "cpu");
        let off = off(on_gpu.validation, on_cpu.validation);
        println!("validation loss off by {off:.0e} on the CPU");
        assert!(off < 1e-3, "{off}");
    });
}

#[test]
fn an_epoch_on_a_gpu_is_the_epoch_on_the_cpu() {
    let test = "learner::tests::gpu::an_epoch_on_a_gpu_is_the_epoch_on_the_cpu";
    on_gpu(test, Software::Allowed, || {
        let pixels = 64;
        let examples = drawn([12, 12], pixels);
        let gpu = device::choose(Choice::Gpu).unwrap().device;
        for network in NetworkName::ALL {
            let epoch = |device: &Device, rate| {
                // AdamW makes steps of one length even where a gradient is nothing but rounding.
                let settings = TrainingSettings {
                    pixels,
                    batch: 24,
                    learning_rate: rate,
                    warmup_epochs: 0.0,
                    ..settings(1, Kind::Sgd)
                };
                let config = LearnerConfig {
                    network,
                    device: device.clone(),
                    ..config(&examples, settings)
                };
                let mut learner = Learner::new(config).unwrap();
                // Each kind of device draws other random values.
                learner.network = learner.network.without_dropping();
                to_the_end(&mut learner, &examples);
                learner.progress().epochs[0].clone()
            };
            let cpu = Device::flex();
            let (on_gpu, on_cpu) = (epoch(&gpu, 1e-3), epoch(&cpu, 1e-3));
            let training = off(on_gpu.training, on_cpu.training);
            let step = off(epoch(&cpu, 1e-9).validation, on_cpu.validation);
            let validation = off(on_gpu.validation, on_cpu.validation) / step;
            println!(
                "{network:<20} off by: training loss {training:.0e}, validation loss \
                 {validation:.0e} of the change of {step:.0e}"
            );
            assert!(training < TRAINING_LOSS, "{network}");
            assert!(validation < VALIDATION_LOSS, "{network}");
        }
    });
}

/// How far a loss is off, relative to it.
fn off(on_gpu: Score, on_cpu: Score) -> f32 {
    (on_gpu.loss - on_cpu.loss).abs() / on_cpu.loss
}

/// Examples with `training` drawn pictures of each class to learn from, and a few to validate with.
fn drawn(training: [usize; 2], pixels: u32) -> Examples {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Embedded::open().await;
        let drawing = Drawing {
            training,
            ..Drawing::default()
        };
        let dataset = drawing.freeze(&store.objects).await;
        fixtures::examples(&store.objects, &dataset, pixels, 1 << 30).await
    })
}
