//! The device that networks are computed on: a GPU through wgpu, or the CPU.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
};

use burn::tensor::{Device, Tensor};

use crate::error::ModelError;

/// The kind of device that a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// A GPU if there is one, and the CPU otherwise.
    #[default]
    Auto,
    Gpu,
    Cpu,
}

impl Choice {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Gpu, Self::Cpu];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Choice {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let found = Self::ALL.into_iter().find(|choice| choice.as_str() == text);
        found.ok_or_else(|| ModelError::UnknownDevice(text.to_owned()))
    }
}

/// An opened device and its description.
#[derive(Debug, Clone)]
pub struct Compute {
    pub device: Device,
    /// People read it: `cpu (flex, 2 threads)`, `gpu (NVIDIA H100, wgpu)`.
    pub name: String,
    pub is_gpu: bool,
}

/// Opens a device to compute on.
///
/// # Errors
/// [`ModelError::NoGpu`] if a GPU was asked for and none can be used. Either this program
/// was built without the feature `gpu`, or there is no driver, or the only renderer is
/// software, which is slower than this crate's operations on the CPU.
pub fn choose(choice: Choice) -> Result<Compute, ModelError> {
    match choice {
        Choice::Gpu if software_is_allowed() => gpu().map(|(compute, _)| compute),
        Choice::Gpu => hardware(),
        Choice::Cpu => Ok(cpu()),
        Choice::Auto => Ok(hardware().unwrap_or_else(|_| cpu())),
    }
}

/// The variable that lets `gpu` be a renderer in software, to test what runs on a GPU without one.
const SOFTWARE: &str = "MASKLINE_SOFTWARE_GPU";

fn software_is_allowed() -> bool {
    std::env::var_os(SOFTWARE).is_some_and(|value| !value.is_empty() && value != "0")
}

/// Opens a GPU, and refuses one that is a renderer in software.
fn hardware() -> Result<Compute, ModelError> {
    match gpu()? {
        (compute, Renderer::Hardware) => Ok(compute),
        (compute, Renderer::Software) => Err(ModelError::NoGpu(format!(
            "{} renders in software, which {SOFTWARE}=1 allows",
            compute.name
        ))),
    }
}

/// What computes for a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renderer {
    Hardware,
    Software,
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
    match choice {
        Choice::Auto if images < WORTH_A_GPU => Ok(cpu()),
        choice => choose(choice),
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

/// A process can open the GPU only once, so that everybody gets the same.
#[cfg(feature = "gpu")]
fn gpu() -> Result<(Compute, Renderer), ModelError> {
    type Opened = Result<(Compute, Renderer), String>;
    static OPENED: std::sync::OnceLock<Opened> = std::sync::OnceLock::new();
    OPENED
        .get_or_init(open_gpu)
        .clone()
        .map_err(ModelError::NoGpu)
}

#[cfg(feature = "gpu")]
fn open_gpu() -> Result<(Compute, Renderer), String> {
    let opened = Device::wgpu_options().init();
    let device = opened.map_err(|error| error.to_string())?;
    let identity = device.identity().ok_or("it has no name")?;
    // Only hardware has a physical identity.
    let renderer = match identity.physical {
        Some(_) => Renderer::Hardware,
        None => Renderer::Software,
    };
    let compute = Compute {
        name: format!("gpu ({}, wgpu)", identity.name),
        device,
        is_gpu: true,
    };
    Ok((compute, renderer))
}

#[cfg(not(feature = "gpu"))]
fn gpu() -> Result<(Compute, Renderer), ModelError> {
    let reason = "this program was built without the feature `gpu`";
    Err(ModelError::NoGpu(reason.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_as_they_print() {
        for choice in Choice::ALL {
            assert_eq!(choice.to_string().parse::<Choice>().unwrap(), choice);
        }
        let error = "cuda".parse::<Choice>().unwrap_err();
        assert_eq!(error.to_string(), "\"cuda\" is no device: auto, gpu or cpu");
    }

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
    fn few_images_are_predicted_on_the_cpu() {
        assert!(!choose_for(Choice::Auto, 3).unwrap().is_gpu);
        let gpu = |compute: Result<Compute, ModelError>| compute.map(|compute| compute.is_gpu).ok();
        assert_eq!(gpu(choose_for(Choice::Gpu, 3)), gpu(choose(Choice::Gpu)));
    }

    #[test]
    fn auto_opens_a_gpu_or_the_cpu_and_gpu_only_a_gpu() {
        let auto = choose(Choice::Auto).unwrap();
        match choose(Choice::Gpu) {
            Ok(gpu) => assert!(gpu.is_gpu && auto.is_gpu),
            Err(error) => {
                assert!(!auto.is_gpu);
                let advice = "use the device `cpu`, or `auto` to take what there is";
                assert!(error.to_string().ends_with(advice), "{error}");
            }
        }
    }
}
