//! What a training run trains, and how.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::{invalid::UnknownName, network::NetworkName};

/// What a training run trains. On the command line and in JSON it is one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Method {
    /// `linear_probe`: a logistic regression on what a pretrained network sees in the images. It
    /// takes seconds where the training of a network takes minutes.
    LinearProbe,
    /// A network with all its layers.
    Network(NetworkName),
}

impl Method {
    pub const ALL: [Self; NetworkName::ALL.len() + 1] = {
        let mut all = [Self::LinearProbe; NetworkName::ALL.len() + 1];
        let mut index = 0;
        while index < NetworkName::ALL.len() {
            all[index + 1] = Self::Network(NetworkName::ALL[index]);
            index += 1;
        }
        all
    };

    /// The name in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LinearProbe => LINEAR_PROBE,
            Self::Network(network) => network.as_str(),
        }
    }

    /// The network that the published weights belong to.
    pub fn network(self) -> NetworkName {
        match self {
            Self::LinearProbe => NetworkName::EfficientnetLite0,
            Self::Network(network) => network,
        }
    }
}

const LINEAR_PROBE: &str = "linear_probe";

/// The names, for the error about a name that is none of them.
struct Names;

impl VariantNames for Names {
    const VARIANTS: &'static [&'static str] = &{
        let networks = NetworkName::VARIANTS;
        let mut all = [LINEAR_PROBE; NetworkName::ALL.len() + 1];
        let mut index = 0;
        while index < networks.len() {
            all[index + 1] = networks[index];
            index += 1;
        }
        all
    };
}

impl FromStr for Method {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let method = Self::ALL.into_iter().find(|method| method.as_str() == text);
        method.ok_or_else(|| UnknownName::new::<Names>(text, "something to train"))
    }
}

impl TryFrom<String> for Method {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Self, UnknownName> {
        text.parse()
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.as_str().to_owned()
    }
}

impl From<NetworkName> for Method {
    fn from(network: NetworkName) -> Self {
        Self::Network(network)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tables align names by their width.
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_as_they_are_written_and_others_are_refused() {
        for method in Method::ALL {
            assert_eq!(method.to_string().parse(), Ok(method));
            let json = serde_json::to_string(&method).unwrap();
            assert_eq!(json, format!("\"{method}\""));
            assert_eq!(serde_json::from_str::<Method>(&json).unwrap(), method);
        }
        let names: Vec<&str> = Method::ALL.into_iter().map(Method::as_str).collect();
        assert_eq!(names, Names::VARIANTS);
        let refused = "resnet".parse::<Method>().unwrap_err().to_string();
        let expected = "\"resnet\" is not something to train (linear_probe, mobilenet_v2, ";
        assert!(refused.starts_with(expected), "{refused}");
    }

    #[test]
    fn a_network_keeps_the_run_ids_and_records_that_it_had() {
        let network = NetworkName::MobilenetV3Small;
        let method = Method::from(network);
        assert_eq!(
            (method.to_string(), method.network()),
            (network.to_string(), network)
        );
        assert_eq!(
            serde_json::to_value(method).unwrap(),
            serde_json::to_value(network).unwrap()
        );
    }
}
