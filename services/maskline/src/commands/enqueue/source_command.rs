//! The kinds of sources that can be enqueued, each a subcommand.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use maskline_messages::{Location, Source};
use url::Url;

use crate::commands::search_args::SearchArgs;

/// A kind of source. `J` are the flags that say what is to be done with it.
#[derive(Debug, Subcommand)]
pub(super) enum SourceCommand<J: Args> {
    /// A folder of images and all folders in it; the scraper must be able to read it
    Folder {
        /// The folder's path
        path: PathBuf,
        #[command(flatten)]
        job: J,
    },
    /// A list of URLs: text with one URL in each line, or CSV, JSON Lines or Parquet with a
    /// column of URLs and perhaps one of labels; it may be compressed by gzip or zstd
    Urls {
        /// A file that the scraper can read, or an http(s) address
        #[arg(value_name = "FILE|URL")]
        list: String,
        /// The column that has the URLs, if it is not called `url`, `image_url`, `imageurl`,
        /// `img_url`, `photo_image_url`, `originalurl`, `content_url`, `contenturl` or `uri`
        #[arg(long, value_name = "NAME")]
        url_column: Option<String>,
        #[command(flatten)]
        job: J,
    },
    /// A web page with images in it, or a sitemap of such pages
    Page {
        /// The http(s) address of the page or the sitemap
        url: String,
        /// How many links are followed, from the page to others and from those to others
        #[arg(long, value_name = "N", default_value_t = 0,
            value_parser = clap::value_parser!(u32).range(..=MAX_DEPTH))]
        depth: u32,
        /// Follow only links to the page's own host
        #[arg(long)]
        same_site: bool,
        #[command(flatten)]
        job: J,
    },
    /// An archive of images: zip, tar, tar.gz or tar.zst; the files KEY.cls, KEY.json and KEY.txt
    /// beside KEY.jpg tell its label and caption (WebDataset)
    Archive {
        /// A file that the scraper can read, or an http(s) address
        #[arg(value_name = "FILE|URL")]
        archive: String,
        #[command(flatten)]
        job: J,
    },
    /// All objects in an S3 bucket whose names begin with a prefix; the scraper needs credentials
    /// that may list and read them, unless the bucket is public
    S3 {
        /// s3://BUCKET/PREFIX, with ?endpoint=URL&region=NAME where it is not Amazon's
        #[arg(value_name = "ADDRESS")]
        address: String,
        #[command(flatten)]
        job: J,
    },
    /// A dataset as Hugging Face's `datasets` knows it: a Parquet file or a folder of them with a
    /// column of images, or a folder of images with a metadata.csv or metadata.jsonl
    Dataset {
        /// A file or a folder that the scraper can read, or the http(s) address of a Parquet file
        #[arg(value_name = "PATH|URL")]
        dataset: String,
        #[command(flatten)]
        job: J,
    },
    /// A search for images at services that search for them
    Search {
        #[command(flatten)]
        search: SearchArgs,
        #[command(flatten)]
        job: J,
    },
}

/// More links in a row lead anywhere.
const MAX_DEPTH: i64 = 32;

impl<J: Args> SourceCommand<J> {
    /// The source, and what is to be done with it.
    pub(super) fn into_parts(self) -> Result<(Source, J)> {
        Ok(match self {
            Self::Folder { path, job } => (folder(path)?, job),
            Self::Urls {
                list,
                url_column,
                job,
            } => {
                let list = file_or_address(
                    &list,
                    "a list, or enqueue its images with `maskline enqueue folder`",
                )?;
                (Source::Urls { list, url_column }, job)
            }
            Self::Page {
                url,
                depth,
                same_site,
                job,
            } => {
                let url = web_address(&url)?;
                let source = Source::Page {
                    url,
                    depth,
                    same_site,
                };
                (source, job)
            }
            Self::Archive { archive, job } => {
                let archive = file_or_address(
                    &archive,
                    "an archive, or enqueue its images with `maskline enqueue folder`",
                )?;
                (Source::Archive { archive }, job)
            }
            Self::S3 { address, job } => (s3(address)?, job),
            Self::Dataset { dataset, job } => {
                let dataset = match dataset.contains("://") {
                    true => Location::Url(web_address(&dataset)?),
                    false => Location::Path(whole_path(Path::new(&dataset))?),
                };
                (Source::Dataset { dataset }, job)
            }
            Self::Search { search, job } => (search.source()?, job),
        })
    }
}

/// The source for a folder. Its path is absolute, because the services may run in another
/// folder.
fn folder(path: PathBuf) -> Result<Source> {
    if path.is_file() {
        bail!(
            "{} is a file: give its folder, or enqueue a list of URLs with `maskline enqueue urls` \
             and an archive with `maskline enqueue archive`",
            path.display()
        );
    }
    Ok(Source::Folder {
        path: whole_path(&path)?,
    })
}

/// A location: an address if the text has a scheme, or else a file. `instead` says what to give
/// in place of a folder.
fn file_or_address(text: &str, instead: &str) -> Result<Location> {
    if text.contains("://") {
        return Ok(Location::Url(web_address(text)?));
    }
    if Path::new(text).is_dir() {
        bail!("{text} is a folder: give {instead}");
    }
    Ok(Location::Path(whole_path(Path::new(text))?))
}

/// The absolute path without `.`, `..` and a slash at its end, so that a source that is enqueued
/// again is the same one. Links in it stay, unless a `..` comes after one: then it leads elsewhere.
fn whole_path(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut clean = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    match (absolute.canonicalize(), clean.canonicalize()) {
        (Ok(real), cleaned) if cleaned.as_ref().ok() != Some(&real) => Ok(real),
        _ => Ok(clean),
    }
}

/// The source for an address in S3. Whether it is right in all its parts is for the scraper to
/// say, whose environment has the rest.
fn s3(address: String) -> Result<Source> {
    let url = Url::parse(&address).ok();
    let url = url.filter(|url| url.scheme() == "s3" && url.has_host());
    let url = url.context("this is no address in S3: write s3://BUCKET/PREFIX")?;
    if !url.username().is_empty() || url.password().is_some() {
        bail!(
            "an address with credentials is seen in the list of processes: give them to the \
             scraper as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        );
    }
    Ok(Source::S3 { address })
}

/// An address that the scraper can fetch. No error repeats it, because it may hold a password.
fn web_address(text: &str) -> Result<Url> {
    let url = Url::parse(text).ok();
    let url = url
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .context("this is no http(s) address: write https://… or http://…")?;
    if url.password().is_some() {
        bail!(
            "an address with a password is seen in the list of processes: download the files \
             yourself, and enqueue the file or the folder"
        );
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_same_source_however_it_is_written() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        for folder in ["photos", "other", "far/away"] {
            std::fs::create_dir_all(place.join(folder)).unwrap();
        }
        let photos = place.join("photos");
        let whole = |path: &str| whole_path(&place.join(path)).unwrap();
        for path in ["photos/", "./photos/.", "other/../photos", "photos"] {
            assert_eq!(whole(path), photos, "{path}");
        }
        // A service on another machine may see it.
        assert_eq!(whole("gone/../lists/"), place.join("lists"));
        std::os::unix::fs::symlink(place.join("far/away"), place.join("link")).unwrap();
        assert_eq!(whole("link/"), place.join("link"));
        assert_eq!(whole("link/../away"), place.join("far/away"));
    }
}
