//! The device that a person asks for.

use std::{fmt, str::FromStr};

use crate::error::ModelError;

/// The device that a person asks for: `auto`, `gpu`, `gpu:1`, `cpu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// A GPU if there is one, and the CPU otherwise.
    #[default]
    Auto,
    /// The GPU that the drivers recommend for computing.
    Gpu,
    /// The GPU of this number, counted from 0.
    NthGpu(usize),
    Cpu,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu => f.write_str("gpu"),
            Self::NthGpu(index) => write!(f, "gpu:{index}"),
            Self::Cpu => f.write_str("cpu"),
        }
    }
}

impl FromStr for Choice {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let number = |digits: &str| digits.parse().ok().map(Self::NthGpu);
        let choice = match text {
            "auto" => Some(Self::Auto),
            "gpu" => Some(Self::Gpu),
            "cpu" => Some(Self::Cpu),
            text => text.strip_prefix("gpu:").and_then(number),
        };
        choice.ok_or_else(|| ModelError::UnknownDevice(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_as_they_print() {
        let all = [Choice::Auto, Choice::Gpu, Choice::NthGpu(12), Choice::Cpu];
        for choice in all {
            assert_eq!(choice.to_string().parse::<Choice>().unwrap(), choice);
        }
    }

    #[test]
    fn what_is_no_device_is_refused_with_those_there_are() {
        for text in ["cuda", "gpu:", "gpu:-1", "gpu:one", "GPU"] {
            let error = text.parse::<Choice>().unwrap_err();
            let expected = format!("{text:?} is no device: auto, gpu, gpu:0, gpu:1 … or cpu");
            assert_eq!(error.to_string(), expected);
        }
    }
}
