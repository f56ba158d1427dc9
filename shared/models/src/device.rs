//! The device that networks are computed on: a GPU through wgpu, or the CPU.

use std::{fmt, str::FromStr};

use burn::tensor::Device;

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
    /// For people: `cpu (flex, 2 threads)`, `gpu (NVIDIA H100, wgpu)`.
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
        Choice::Gpu => gpu(),
        Choice::Cpu => Ok(cpu()),
        Choice::Auto => Ok(gpu().unwrap_or_else(|_| cpu())),
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

#[cfg(feature = "gpu")]
fn gpu() -> Result<Compute, ModelError> {
    let device = Device::wgpu_options()
        .init()
        .map_err(|error| ModelError::NoGpu(error.to_string()))?;
    let identity = device.identity();
    let identity = identity.ok_or_else(|| ModelError::NoGpu("it has no name".into()))?;
    // Only hardware has a physical identity.
    if identity.physical.is_none() {
        let renderer = format!("{} renders in software", identity.name);
        return Err(ModelError::NoGpu(renderer));
    }
    Ok(Compute {
        device,
        name: format!("gpu ({}, wgpu)", identity.name),
        is_gpu: true,
    })
}

#[cfg(not(feature = "gpu"))]
fn gpu() -> Result<Compute, ModelError> {
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
