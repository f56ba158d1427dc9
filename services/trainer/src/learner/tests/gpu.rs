//! Training on a GPU, which is a driver in software.

use maskline_models::device::{self, Choice};
use maskline_test_support::vulkan::{Software, on_gpu};

use super::*;

/// The least that a GPU computes.
const PIXELS: u32 = 40;

#[test]
fn a_run_on_a_gpu_is_the_same_again_wherever_it_is_interrupted() {
    let test = "learner::tests::gpu::a_run_on_a_gpu_is_the_same_again_wherever_it_is_interrupted";
    on_gpu(test, Software::Allowed, || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let examples = runtime.block_on(async {
            let store = Embedded::open().await;
            let drawing = Drawing {
                training: [12, 12],
                ..Drawing::default()
            };
            let dataset = drawing.freeze(&store.objects).await;
            fixtures::examples(&store.objects, &dataset, PIXELS, 1 << 30).await
        });
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
        let mut resumed = Learner::resume(config, learner.snapshot().unwrap()).unwrap();
        to_the_end(&mut resumed, &examples);
        assert_eq!(result(&resumed), result(&undisturbed));
    });
}
