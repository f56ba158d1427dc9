//! The front matter of a card: what Hugging Face's Hub and `datasets` read, as YAML.

use maskline_messages::Label;
use serde::{Serialize, Serializer};

use super::{facts::CardFacts, hub_license::hub_licenses};
use crate::{
    columns::{COLUMNS, Kind},
    manifest::SplitManifest,
    split::Split,
};

/// The front matter without the lines `---` around it.
pub(super) fn front_matter(facts: &CardFacts) -> String {
    let manifest = facts.manifest;
    // `datasets` reports an error for a split without a file.
    let present = Split::ALL
        .into_iter()
        .filter(|&split| manifest.images(split) > 0);
    let data_files = present.clone().map(|split| DataFile {
        split: split.name(),
        path: split.shard_pattern(),
    });
    let data_files: Vec<DataFile> = data_files.collect();
    let splits = present.map(|split| SplitInfo {
        name: split.name(),
        num_bytes: manifest.split(split).map_or(0, bytes_of),
        num_examples: manifest.images(split),
    });
    let splits: Vec<SplitInfo> = splits.collect();
    let bytes = splits.iter().map(|split| split.num_bytes).sum();
    let images = splits.iter().map(|split| split.num_examples).sum();
    let front_matter = FrontMatter {
        pretty_name: facts.name,
        license: hub_licenses(facts.licenses),
        task_categories: ["image-classification"],
        size_categories: [size_category(images)],
        configs: if data_files.is_empty() {
            vec![]
        } else {
            vec![Config {
                config_name: "default",
                data_files,
            }]
        },
        dataset_info: DatasetInfo {
            features: features(&manifest.classes),
            splits,
            download_size: bytes,
            dataset_size: bytes,
        },
    };
    serde_saphyr::to_string(&front_matter).expect("texts, numbers and lists of them are YAML")
}

fn features(classes: &[Label]) -> Vec<Feature<'_>> {
    let columns = COLUMNS.iter();
    let features = columns.map(|column| {
        let dtype = match (column.kind, column.kind.value_type()) {
            (_, Some(name)) => Dtype::Name(name),
            (Kind::Label, _) => {
                let names = Numbered(classes);
                let class_label = Names { names };
                Dtype::ClassLabel(ClassLabel { class_label })
            }
            (Kind::Jobs, _) => return Feature::list(column.name, Sequence::Of("string")),
            (Kind::Faces, _) => {
                let numbers = "float32";
                return Feature::Structs {
                    name: column.name,
                    list: vec![
                        Feature::list("bbox", Sequence::Of(numbers)),
                        Feature::list("keypoints", Sequence::Lists { sequence: numbers }),
                        Feature::Plain {
                            name: "score",
                            dtype: Dtype::Name(numbers),
                        },
                    ],
                };
            }
            _ => Dtype::Name("image"),
        };
        Feature::Plain {
            name: column.name,
            dtype,
        }
    });
    features.collect()
}

/// The size of a split's files.
fn bytes_of(split: &SplitManifest) -> u64 {
    split.shards.iter().map(|shard| shard.bytes).sum()
}

/// The Hub's names for numbers of images, each with the number that is too large for it.
const SIZES: [(u64, &str); 10] = [
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
    (10_000_000_000, "1B<n<10B"),
    (100_000_000_000, "10B<n<100B"),
    (1_000_000_000_000, "100B<n<1T"),
];

fn size_category(images: u64) -> &'static str {
    let fitting = SIZES.iter().find(|&&(limit, _)| images < limit);
    fitting.map_or("n>1T", |&(_, name)| name)
}

#[derive(Serialize)]
struct FrontMatter<'a> {
    pretty_name: &'a str,
    license: Vec<&'static str>,
    task_categories: [&'static str; 1],
    size_categories: [&'static str; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    configs: Vec<Config>,
    dataset_info: DatasetInfo<'a>,
}

/// Which files belong to which split.
#[derive(Serialize)]
struct Config {
    config_name: &'static str,
    data_files: Vec<DataFile>,
}

#[derive(Serialize)]
struct DataFile {
    split: &'static str,
    path: String,
}

#[derive(Serialize)]
struct DatasetInfo<'a> {
    features: Vec<Feature<'a>>,
    splits: Vec<SplitInfo>,
    download_size: u64,
    dataset_size: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Feature<'a> {
    Plain {
        name: &'static str,
        dtype: Dtype<'a>,
    },
    /// A list of values of a type.
    List {
        name: &'static str,
        sequence: Sequence,
    },
    /// A list of structs.
    Structs {
        name: &'static str,
        list: Vec<Feature<'a>>,
    },
}

impl Feature<'_> {
    fn list(name: &'static str, sequence: Sequence) -> Self {
        Self::List { name, sequence }
    }
}

/// What a list is of.
#[derive(Serialize)]
#[serde(untagged)]
enum Sequence {
    Of(&'static str),
    Lists { sequence: &'static str },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Dtype<'a> {
    Name(&'static str),
    ClassLabel(ClassLabel<'a>),
}

#[derive(Serialize)]
struct ClassLabel<'a> {
    class_label: Names<'a>,
}

#[derive(Serialize)]
struct Names<'a> {
    names: Numbered<'a>,
}

/// The classes by their number, which is a text.
struct Numbered<'a>(&'a [Label]);

impl Serialize for Numbered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbered = self.0.iter().enumerate();
        serializer.collect_map(numbered.map(|(number, class)| (number.to_string(), class)))
    }
}

#[derive(Serialize)]
struct SplitInfo {
    name: &'static str,
    num_bytes: u64,
    num_examples: u64,
}
