//! `maskline weights`: the pretrained weights that torchvision publishes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand, builder::PossibleValuesParser};
use comfy_table::Cell;
use maskline_foundation::private_folder;
use maskline_messages::NetworkName;
use maskline_scraper::{DownloadArgs, download};
use serde::Serialize;
use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    connection::ConnectionArgs,
    output::{self, percent},
};

/// Where torchvision publishes its weights.
const BASE: &str = "https://download.pytorch.org/models/";

/// The most bytes of a file of weights.
const MOST_BYTES: u64 = 64 << 20;

/// Weights that torchvision publishes, trained on ImageNet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Published {
    network: NetworkName,
    /// The name of the weights in torchvision.
    weights: &'static str,
    /// The name of the file. The digits at its end are the beginning of its SHA-256.
    file: &'static str,
    /// The accuracy on ImageNet that torchvision states.
    accuracy: f32,
}

/// The weights by torchvision 0.29.2: `torchvision/models/*.py`. Those that come first are the
/// usual ones of a network.
const PUBLISHED: [Published; 5] = [
    Published {
        network: NetworkName::MobilenetV2,
        weights: "IMAGENET1K_V2",
        file: "mobilenet_v2-7ebf99e0.pth",
        accuracy: 0.72154,
    },
    Published {
        network: NetworkName::MobilenetV2,
        weights: "IMAGENET1K_V1",
        file: "mobilenet_v2-b0353104.pth",
        accuracy: 0.71878,
    },
    Published {
        network: NetworkName::MobilenetV3Small,
        weights: "IMAGENET1K_V1",
        file: "mobilenet_v3_small-047dcff4.pth",
        accuracy: 0.67668,
    },
    Published {
        network: NetworkName::Mnasnet1_0,
        weights: "IMAGENET1K_V1",
        file: "mnasnet1.0_top1_73.512-f206786ef8.pth",
        accuracy: 0.73456,
    },
    Published {
        network: NetworkName::EfficientnetB0,
        weights: "IMAGENET1K_V1",
        file: "efficientnet_b0_rwightman-7f5810bc.pth",
        accuracy: 0.77692,
    },
];

impl Published {
    /// The address of the file in the folder at `base`.
    fn url(&self, base: &str) -> String {
        format!("{}/{}", base.trim_end_matches('/'), self.file)
    }

    /// The beginning of the file's SHA-256.
    fn sha256(&self) -> &'static str {
        let stem = self.file.strip_suffix(".pth").unwrap_or(self.file);
        stem.rsplit('-').next().unwrap_or_default()
    }

    /// # Errors
    /// If the bytes are not those of the file.
    fn check(&self, bytes: &[u8]) -> Result<()> {
        let found = hex::encode(Sha256::digest(bytes));
        if !found.starts_with(self.sha256()) {
            bail!(
                "its SHA-256 is {found} and should begin with {}: the file is damaged or another",
                self.sha256()
            );
        }
        Ok(())
    }
}

/// Weights as `maskline weights list --json` prints them.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    published: &'a Published,
    /// The address at which torchvision has the file.
    url: String,
}

/// The networks that there are weights of, each once.
fn networks() -> Vec<&'static str> {
    let mut networks = PUBLISHED.map(|of| of.network.as_str()).to_vec();
    networks.dedup();
    networks
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  maskline weights fetch mobilenet_v3_small\n\n\
                  The weights of efficientnet_lite0 come with maskline: --from pretrained"
)]
pub(crate) struct Weights {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the weights that torchvision publishes
    List(List),
    /// Download weights, to train a network from them
    Fetch(Box<Fetch>),
}

#[derive(Debug, Args)]
struct List {
    /// Print the weights as lines of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Fetch {
    /// The network
    #[arg(value_parser = PossibleValuesParser::new(networks()))]
    network: String,
    /// The name of the weights, as `maskline weights list` has it [default: the newest]
    #[arg(long)]
    weights: Option<String>,
    /// The address of the folder with the files, such as that of a mirror
    #[arg(long, value_name = "URL", default_value = BASE)]
    base_url: Url,
    /// The folder to save the file in [default: the folder weights in the data folder]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Weights {
    pub(crate) async fn run(self) -> Result<()> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Fetch(fetch) => fetch.run().await,
        }
    }
}

impl List {
    fn run(self) -> Result<()> {
        if self.json {
            return PUBLISHED.iter().try_for_each(|published| {
                output::print_json(&Listed {
                    published,
                    url: published.url(BASE),
                })
            });
        }
        let mut table = output::table(&["network", "weights", "ImageNet", "file"]);
        for published in &PUBLISHED {
            table.add_row([
                Cell::new(published.network),
                Cell::new(published.weights),
                Cell::new(percent(Some(published.accuracy))),
                Cell::new(published.file),
            ]);
        }
        output::print(table)?;
        output::note(format!(
            "They are at {BASE}. `maskline weights fetch NETWORK` downloads them."
        ));
        Ok(())
    }
}

impl Fetch {
    async fn run(self) -> Result<()> {
        let published = self.published()?;
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => self.connection.data().join("weights"),
        };
        let path = folder.join(published.file);
        if !is_there(published, &path) {
            let url: Url = published.url(self.base_url.as_str()).parse()?;
            let quotas = self.connection.stores().await?.catalog;
            let args = DownloadArgs {
                most_bytes: MOST_BYTES,
                allow_private_hosts: self.base_url.as_str() != BASE,
            };
            let downloading = download(&url, &args, quotas).await;
            let bytes = downloading.map_err(|error| {
                anyhow!(
                    "{url} can't be downloaded: {error:#}. Where there is no network, bring the file \
                     in some other way, and train with --from {}",
                    published.file
                )
            })?;
            published.check(&bytes).with_context(|| url.to_string())?;
            save(&path, &bytes).with_context(|| format!("{} can't be written", path.display()))?;
        }
        output::print(path.display())?;
        output::note(format!(
            "Train from it with: maskline train DATASET --network {} --from {}",
            published.network,
            path.display()
        ));
        Ok(())
    }

    fn published(&self) -> Result<&'static Published> {
        let mut of_network = PUBLISHED
            .iter()
            .filter(|published| published.network.as_str() == self.network);
        let found = match &self.weights {
            None => of_network.next(),
            Some(name) => of_network.find(|published| published.weights == name),
        };
        found.with_context(|| {
            let name = self.weights.as_deref().unwrap_or_default();
            format!(
                "torchvision has no weights {name:?} of {}: see `maskline weights list`",
                self.network
            )
        })
    }
}

/// Whether the file was downloaded before, and is sound.
fn is_there(published: &Published, path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| published.check(&bytes).is_ok())
}

/// Writes the file under another name first, so that there is never a part of it.
fn save(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        private_folder::create(folder)?;
    }
    let unfinished = path.with_extension("part");
    fs::write(&unfinished, bytes)?;
    fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_the_beginning_of_its_hash_in_its_name() {
        for published in &PUBLISHED {
            let sha256 = published.sha256();
            assert!((8..=10).contains(&sha256.len()), "{sha256}");
            assert!(sha256.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let refused = published.check(b"another file").unwrap_err().to_string();
            assert!(refused.contains(sha256), "{refused}");
        }
    }

    #[test]
    fn each_network_is_named_once() {
        assert_eq!(
            networks(),
            [
                "mobilenet_v2",
                "mobilenet_v3_small",
                "mnasnet1_0",
                "efficientnet_b0"
            ]
        );
    }

    #[test]
    fn a_file_is_there_once_it_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let published = Published {
            file: "network-ba7816bf.pth",
            ..PUBLISHED[0]
        };
        let path = folder.path().join("weights").join(published.file);
        assert!(!is_there(&published, &path));
        save(&path, b"abd").unwrap();
        assert!(!is_there(&published, &path), "it is damaged");
        save(&path, b"abc").unwrap();
        assert!(is_there(&published, &path));
    }
}
