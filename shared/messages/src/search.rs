//! Searches for images by words.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray, VariantNames};

use crate::{invalid::UnknownName, license::License};

/// A service that searches for images.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[serde(rename_all = "kebab-case")]
#[strum(
    serialize_all = "kebab-case",
    parse_err_ty = UnknownName,
    parse_err_fn = unknown_provider
)]
pub enum SearchProvider {
    Openverse,
    /// Wikimedia Commons.
    Commons,
    Flickr,
    /// Google Images, asked through SerpApi.
    SerpapiGoogle,
    /// Bing Images, asked through SerpApi.
    SerpapiBing,
    Brave,
}

fn unknown_provider(text: &str) -> UnknownName {
    UnknownName::new::<SearchProvider>(text, "a provider of image search")
}

impl SearchProvider {
    pub const ALL: &[Self] = <Self as VariantArray>::VARIANTS;

    /// The name that `--provider` takes.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns whether the provider says under which licence its results are.
    pub fn tells_licenses(self) -> bool {
        match self {
            Self::Openverse | Self::Commons | Self::Flickr => true,
            Self::SerpapiGoogle | Self::SerpapiBing | Self::Brave => false,
        }
    }
}

/// A search for images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// The words. For Commons it may be a category, such as `Category:Surgical masks`.
    pub query: String,
    /// The providers in the order in which they are asked, each until it has no more.
    pub providers: Vec<SearchProvider>,
    /// At most so many results of all providers together become candidates.
    pub limit: u64,
    /// Only results under one of these licences are taken. If there are none, all are taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<License>,
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let providers: Vec<_> = self.providers.iter().map(|name| name.as_str()).collect();
        // In this form the words can't imitate anything else in a log.
        write!(f, "search {:?} at {}", self.query, providers.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_the_command_line_have_the_same_names() {
        for &provider in SearchProvider::ALL {
            assert_eq!(provider.as_str().parse(), Ok(provider));
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
        }
    }

    #[test]
    fn an_unknown_provider_is_repeated_beside_those_that_there_are() {
        let refused = "altavista".parse::<SearchProvider>().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "\"altavista\" is not a provider of image search (openverse, commons, flickr, \
             serpapi-google, serpapi-bing, brave)"
        );
    }
}
