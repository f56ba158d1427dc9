//! Sources of images, which a person enqueues.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use maskline_foundation::{path_text, text::printable};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};
use url::Url;

use crate::{
    label::Label,
    location::{Location, shown, without_options, without_secrets},
    search::Search,
};

/// A source of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A folder, which is searched recursively. The scraper must be able to read it.
    Folder {
        #[serde(with = "crate::path_serde")]
        path: PathBuf,
    },
    /// A list of URLs: text with a URL in each line, or CSV, JSON Lines or Parquet with a
    /// column of URLs. It is a file that the scraper can read, or a URL itself.
    Urls {
        list: Location,
        /// The name of the column that has the URLs. `None` means one of the usual names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url_column: Option<String>,
    },
    /// A web page or a sitemap. The images in it are the candidates.
    Page {
        url: Url,
        /// How many links are followed from the page to other pages, one after the other. With
        /// 0 it is this page alone.
        #[serde(default)]
        depth: u32,
        /// Follow only links to the page's own host.
        #[serde(default)]
        same_site: bool,
    },
    /// An archive of images: zip or tar, which may be compressed. It is a file that the
    /// scraper can read, or a URL.
    Archive { archive: Location },
    /// All objects of an S3 bucket whose names begin with a prefix. The address is
    /// `s3://BUCKET/PREFIX`, with `?endpoint=URL&region=NAME` where it is not Amazon's.
    S3 { address: String },
    /// A dataset as Hugging Face's `datasets` knows it: Parquet files with a column of
    /// images, or a folder of images with a `metadata.csv` or `metadata.jsonl`.
    Dataset { dataset: Location },
    /// A search at services that search for images.
    Search(Search),
}

impl Source {
    /// The source as people anywhere may know it: its address without secrets. `None` for what
    /// is on a machine.
    pub fn public_name(&self) -> Option<String> {
        match self {
            Self::Urls { list: file, .. }
            | Self::Archive { archive: file }
            | Self::Dataset { dataset: file } => file.public_address(),
            Self::Page { url, .. } => Some(without_secrets(url).into()),
            Self::S3 { address } => Some(without_options(address).to_owned()),
            Self::Search(search) => Some(search.to_string()),
            Self::Folder { .. } => None,
        }
    }
}

/// The source as logs, traces and people may see it, without secrets: see [`shown`].
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { path } => write!(f, "folder {}", path_text::shown(path)),
            Self::Urls { list, .. } => write!(f, "URL list {}", list.shown()),
            Self::Page { url, .. } => write!(f, "page {}", shown(url)),
            Self::Archive { archive } => write!(f, "archive {}", archive.shown()),
            // Its credentials are never in the address.
            Self::S3 { address } => f.write_str(&printable(address)),
            Self::Dataset { dataset } => write!(f, "dataset {}", dataset.shown()),
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
    /// The label is the name of a folder that the file is in, or of one in the URL's path: of the
    /// nearest that is one of the classes, or else of the nearest of all.
    Folder {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        classes: Vec<Label>,
    },
    /// The label is what the source says of each image: a column of a list or a dataset, or
    /// the file beside an image in an archive of the WebDataset format.
    Column {
        /// The column's name. `None` means one of the usual names, such as `label`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The labels of the texts in the column. A text that is not here is a label itself.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        map: BTreeMap<String, Label>,
    },
}

impl Labeling {
    /// The label is in the column with the usual name, as it stands there.
    pub const fn column() -> Self {
        Self::Column {
            name: None,
            map: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{license::License, search::SearchProvider};

    #[test]
    fn a_source_is_shown_without_the_secrets_of_its_url() {
        let url: Url = "https://me:hunter2@h/a?sig=hunter2&w=2".parse().unwrap();
        let expected = "https://h/a?sig=REDACTED&w=2";
        let page = Source::Page {
            url: url.clone(),
            depth: 0,
            same_site: false,
        };
        assert_eq!(page.to_string(), format!("page {expected}"));
        let list = Source::Urls {
            list: Location::Url(url.clone()),
            url_column: None,
        };
        assert_eq!(list.to_string(), format!("URL list {expected}"));
        let archive = Source::Archive {
            archive: Location::Url(url),
        };
        assert_eq!(archive.to_string(), format!("archive {expected}"));
    }

    #[test]
    fn what_a_request_leaves_out_has_its_usual_value() {
        let page: Source = serde_json::from_str(r#"{"kind":"page","url":"http://h/"}"#).unwrap();
        assert!(matches!(
            page,
            Source::Page {
                depth: 0,
                same_site: false,
                ..
            }
        ));
        let labeling: Labeling = serde_json::from_str(r#"{"by":"column"}"#).unwrap();
        assert_eq!(labeling, Labeling::column());
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
