//! Downloads a file for a command, by the rules that images are fetched by.

use std::sync::Arc;

use anyhow::{Result, bail};
use bytes::Bytes;
use clap::Parser;
use maskline_foundation::ByteBudget;
use maskline_runtime::RetryPolicy;
use maskline_storage::catalog::Quotas;
use url::Url;

use crate::{
    args::FetchArgs,
    fetch::{FetchError, Fetcher, ResourceKind},
};

/// How a file is downloaded.
#[derive(Debug, Clone, Default)]
pub struct DownloadArgs {
    /// The most bytes that it may have.
    pub most_bytes: u64,
    /// Also ask addresses that are not public, because the operator has named one.
    pub allow_private_hosts: bool,
}

/// Parses the flags of a scraper that nobody gave any.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    fetch: FetchArgs,
}

/// Downloads the file at `url`. `quotas` are where all scrapers share how often a site may be asked.
///
/// # Errors
/// If the address is not public, if the site's robots.txt disallows it, if the site does not answer
/// with the file, or if it has too many bytes.
pub async fn download(url: &Url, args: &DownloadArgs, quotas: Arc<dyn Quotas>) -> Result<Bytes> {
    let mut fetch = Flags::try_parse_from(["scraper"])?.fetch;
    fetch.allow_private_hosts |= args.allow_private_hosts;
    let limits = fetch.limits(1, RetryPolicy::default())?;
    let fetcher = Fetcher::new(limits, fetch.contact.as_ref(), quotas)?;
    let budget = ByteBudget::new(args.most_bytes);
    let downloading = async {
        let response = fetcher.web().get(url, ResourceKind::List).await?;
        Ok(response.body(args.most_bytes, &budget).await?.bytes)
    };
    match downloading.await {
        Ok(bytes) => Ok(bytes),
        Err(error) => match FetchError::into_reason(error) {
            Ok(reason) => bail!("{reason}"),
            Err(failure) => bail!("{failure}"),
        },
    }
}
