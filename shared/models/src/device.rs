//! The device that networks are computed on: a GPU through wgpu, or the CPU.

mod choice;
#[cfg_attr(not(feature = "gpu"), path = "device/no_gpu.rs")]
mod gpu;
mod reading;

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, Tensor};

pub use choice::Choice;
pub use gpu::keep_kernels_in;
pub use reading::{one_behind, read};

use crate::error::ModelError;

/// An opened device and its description.
#[derive(Debug, Clone)]
pub struct Compute {
    pub device: Device,
    /// People read it: `cpu (flex, 2 threads)`, `gpu (NVIDIA H100, wgpu)`, or with a number
    /// `gpu:1 (NVIDIA H100, wgpu)`.
    pub name: String,
    pub is_gpu: bool,
}

/// Opens a device to compute on. A GPU is opened once in a process, so that everybody who asks for
/// it gets the same.
///
/// # Errors
/// If a GPU was asked for and can't be used. [`ModelError::NoGpu`]: this program was built without
/// the feature `gpu`, or there is no driver, or the only renderer is software, which is slower
/// than this crate's operations on the CPU. [`ModelError::NoSuchGpu`]: there are fewer.
pub fn choose(choice: Choice) -> Result<Compute, ModelError> {
    match choice {
        Choice::Gpu => gpu::best(Software::allowed()),
        Choice::NthGpu(index) => gpu::nth(index, Software::allowed()),
        Choice::Cpu => Ok(cpu()),
        Choice::Auto => Ok(gpu::best(Software::Refused).unwrap_or_else(|_| cpu())),
    }
}

/// The folder in the data folder for [`keep_kernels_in`].
pub const KERNELS: &str = "kernels";

/// The variable that lets `gpu` be a renderer in software, to test what runs on a GPU without one.
pub const SOFTWARE: &str = "MASKLINE_SOFTWARE_GPU";

/// Whether a renderer in software may stand in for a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Software {
    Allowed,
    Refused,
}

impl Software {
    /// What the environment says.
    fn allowed() -> Self {
        let value = std::env::var_os(SOFTWARE);
        match value.is_some_and(|value| !value.is_empty() && value != "0") {
            true => Self::Allowed,
            false => Self::Refused,
        }
    }
}

/// The least number of images for which a GPU predicts sooner than the CPU. It must be opened,
/// and its kernels are compiled and tuned at their first use, which takes a minute.
const WORTH_A_GPU: usize = 20_000;

/// Opens a device that predicts so many images, and then is not needed any more. `auto` is a GPU
/// only if there are many.
///
/// # Errors
/// The errors are those of [`choose`].
pub fn choose_for(choice: Choice, images: usize) -> Result<Compute, ModelError> {
    choose(choice_for(choice, images))
}

/// The choice for so many images, whatever devices there are: `auto` is the CPU for a few.
fn choice_for(choice: Choice, images: usize) -> Choice {
    match choice {
        Choice::Auto if images < WORTH_A_GPU => Choice::Cpu,
        choice => choice,
    }
}

/// The least side of a network's input, in pixels, that a GPU computes. Below it the kernels that
/// Burn 0.22 fuses for MobileNetV3-small and the EfficientNets fail.
const LEAST_GPU_PIXELS: u32 = 40;

impl Compute {
    /// The device for a network whose input has this side: the CPU where a GPU can't compute it.
    pub fn for_pixels(self, pixels: u32) -> Self {
        match self.is_gpu && pixels < LEAST_GPU_PIXELS {
            true => cpu(),
            false => self,
        }
    }

    /// Gives the memory of a GPU back that nothing holds any more. Each thread that has computed on it
    /// has kept what it had at most, and only this frees it for the others.
    pub fn free_memory(&self) {
        if self.is_gpu {
            self.device.memory_cleanup();
        }
    }

    /// Whether the device still computes. A GPU whose driver was reset, or that was taken away,
    /// never answers again in the process that had opened it.
    pub fn answers(&self) -> bool {
        let device = self.device.clone().without_autodiff();
        let sum = || {
            let sum = Tensor::<1>::ones([4], &device).sum();
            sum.try_into_vec_as::<f32>().is_ok_and(|sum| sum == [4.0])
        };
        // A lost device panics in the thread that asks it.
        catch_unwind(AssertUnwindSafe(sum)).unwrap_or(false)
    }
}

fn cpu() -> Compute {
    let threads = rayon::current_num_threads();
    let plural = if threads == 1 { "" } else { "s" };
    Compute {
        device: Device::flex(),
        name: format!("cpu (flex, {threads} thread{plural})"),
        is_gpu: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there() {
        let compute = choose(Choice::Cpu).unwrap();
        assert!(!compute.is_gpu);
        assert!(compute.name.starts_with("cpu (flex, "), "{}", compute.name);
    }

    #[test]
    fn small_inputs_are_computed_on_the_cpu() {
        // A device that says that it is a GPU.
        let gpu = Compute {
            is_gpu: true,
            ..choose(Choice::Cpu).unwrap()
        };
        assert!(!gpu.clone().for_pixels(32).is_gpu);
        assert!(gpu.for_pixels(40).is_gpu);
    }

    #[test]
    fn a_device_that_computes_answers() {
        assert!(choose(Choice::Cpu).unwrap().answers());
    }

    #[test]
    fn auto_is_the_cpu_for_a_few_images_and_what_a_person_names_stays() {
        let few = WORTH_A_GPU - 1;
        assert_eq!(choice_for(Choice::Auto, few), Choice::Cpu);
        assert_eq!(choice_for(Choice::Auto, WORTH_A_GPU), Choice::Auto);
        for named in [Choice::Gpu, Choice::NthGpu(1), Choice::Cpu] {
            assert_eq!(choice_for(named, few), named);
        }
        assert!(!choose_for(Choice::Auto, few).unwrap().is_gpu);
    }

    #[test]
    fn auto_opens_a_gpu_or_the_cpu_and_gpu_only_a_gpu() {
        let auto = choose(Choice::Auto).unwrap();
        for choice in [Choice::Gpu, Choice::NthGpu(0)] {
            match choose(choice) {
                Ok(gpu) => assert!(gpu.is_gpu && auto.is_gpu),
                Err(error) => {
                    assert!(!auto.is_gpu);
                    let advice = "use the device `cpu`, or `auto` to take what there is";
                    assert!(error.to_string().ends_with(advice), "{error}");
                }
            }
        }
    }
}
