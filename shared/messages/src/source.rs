//! Sources of images, which a person enqueues.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};
use url::Url;

use crate::{
    label::Label,
    location::{Location, shown, without_secrets},
    search::Search,
};

/// A source of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A folder, which is searched recursively. The scraper must be able to read it.
    Folder { path: PathBuf },
    /// A list with a URL on each line, or a CSV file with a column `url` and perhaps a
    /// column `label`. It is a file that the scraper can read, or a URL itself.
    Urls { list: Location },
    /// A web page. Its images are the candidates.
    Page { url: Url },
    /// A search at services that search for images.
    Search(Search),
}

impl Source {
    /// The source as people anywhere may know it: its address without secrets. `None` for what
    /// is on a machine.
    pub fn public_name(&self) -> Option<String> {
        match self {
            Self::Urls {
                list: Location::Url(url),
            }
            | Self::Page { url } => Some(without_secrets(url).into()),
            Self::Search(search) => Some(search.to_string()),
            Self::Urls { .. } | Self::Folder { .. } => None,
        }
    }
}

/// The source as logs, traces and people may see it, without secrets: see [`shown`].
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { path } => write!(f, "folder {}", path.display()),
            Self::Urls { list } => write!(f, "URL list {}", list.shown()),
            Self::Page { url } => write!(f, "page {}", shown(url)),
            Self::Search(search) => search.fmt(f),
        }
    }
}

/// What a collection uses the images of a source for.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SourceRole {
    /// They go to the training or to the validation split.
    #[default]
    Train,
    /// They go to the test split. No network is trained on them, and none of its epochs is
    /// chosen by them.
    Test,
}

/// Where a candidate's label comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Labeling {
    /// Every image of the source has this label.
    Declared { label: Label },
    /// The label is the name of the folder that the file is in, or of the last folder in
    /// the URL's path.
    Folder,
    /// The label is in the column `label` of a CSV list.
    Column,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{license::License, search::SearchProvider};

    #[test]
    fn a_source_is_shown_without_the_secrets_of_its_url() {
        let url: Url = "https://me:hunter2@h/a?sig=hunter2&w=2".parse().unwrap();
        let expected = "https://h/a?sig=REDACTED&w=2";
        let page = Source::Page { url: url.clone() };
        assert_eq!(page.to_string(), format!("page {expected}"));
        let list = Source::Urls {
            list: Location::Url(url),
        };
        assert_eq!(list.to_string(), format!("URL list {expected}"));
    }

    #[test]
    fn a_search_is_shown_on_one_line_and_comes_back_from_json() {
        let search = Source::Search(Search {
            query: "a \"mask\"\nerror: no".to_owned(),
            providers: vec![SearchProvider::Openverse, SearchProvider::SerpapiBing],
            limit: 2000,
            licenses: vec![License::Cc0, License::BySa],
        });
        let shown = r#"search "a \"mask\"\nerror: no" at openverse, serpapi-bing"#;
        assert_eq!(search.to_string(), shown);
        let json = serde_json::to_value(&search).unwrap();
        assert_eq!(json["kind"], "search");
        assert_eq!(json["providers"][1], "serpapi-bing");
        assert_eq!(json["licenses"][1], "by-sa");
        assert_eq!(serde_json::from_value::<Source>(json).unwrap(), search);
    }
}
