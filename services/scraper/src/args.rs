//! The service's flags, and the service that is made of them.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use maskline_runtime::{RuntimeArgs, Service};
use maskline_storage::{StorageArgs, catalog_answers, objects_answer};

use crate::{
    NAME,
    expand::search::{ApiKeys, SearchArgs, SearchSettings, Searches},
    fetch::{Contact, FetchLimits, Fetcher},
    stage::{CandidateHandler, SourceHandler},
};

/// Expands sources of images and downloads the images that it finds in them.
///
/// Takes SourceRequested and its own CandidateFound, sends ImageFetched, ImageRejected,
/// SourceExpanded and JobFailed. Several scrapers share one large source.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "maskline-scraper",
    version,
    after_help = "Example:\n  maskline-scraper --broker amqp://guest:guest@localhost/ --objects s3://maskline \\\n    --catalog mongodb://localhost/maskline --per-host-rate 5"
)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    #[command(flatten)]
    pub storage: StorageArgs,
    #[command(flatten)]
    pub fetch: FetchArgs,
    #[command(flatten)]
    pub search: SearchArgs,
}

/// How images are downloaded.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Fetching")]
pub struct FetchArgs {
    /// Largest image, in MiB
    #[arg(long, env = "MASKLINE_MAX_MIB", value_name = "MIB", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub max_mib: u32,
    /// Seconds that connecting may take
    #[arg(long, env = "MASKLINE_CONNECT_TIMEOUT", value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub connect_timeout: u32,
    /// Seconds that one download may take, from its start to its end
    #[arg(long, env = "MASKLINE_FETCH_TIMEOUT", value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub fetch_timeout: u32,
    /// Redirects followed for one image
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub redirects: u32,
    /// Requests to one host at a time
    #[arg(long, env = "MASKLINE_PER_HOST", value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub per_host: u16,
    /// Requests to one host per second
    #[arg(
        long,
        env = "MASKLINE_PER_HOST_RATE",
        value_name = "N",
        default_value = "10"
    )]
    pub per_host_rate: NonZeroU32,
    /// Also download from addresses that are not public, such as this machine and the local
    /// network
    #[arg(long, env = "MASKLINE_ALLOW_PRIVATE_HOSTS")]
    pub allow_private_hosts: bool,
    /// Whom a site's operator can ask about this crawler: a mail address or the address of a
    /// page. It is a part of the User-Agent, and some sites allow more to who has it
    #[arg(long, env = "MASKLINE_CONTACT", value_name = "ADDRESS")]
    pub contact: Option<Contact>,
    /// Do not read robots.txt. Use this only for sites of your own
    #[arg(long, env = "MASKLINE_IGNORE_ROBOTS")]
    pub ignore_robots: bool,
}

impl FetchArgs {
    fn limits(&self) -> FetchLimits {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let bytes = u64::from(self.max_mib) << 20;
        FetchLimits {
            bytes,
            bytes_in_flight: bytes.max(32 << 20),
            connect_timeout: seconds(self.connect_timeout),
            timeout: seconds(self.fetch_timeout),
            list_timeout: seconds(self.fetch_timeout) * 10,
            redirects: self.redirects,
            per_host: self.per_host.into(),
            per_host_rate: self.per_host_rate,
            allow_private_hosts: self.allow_private_hosts,
            ignore_robots: self.ignore_robots,
        }
    }
}

/// The service, connected to its objects and its catalog.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let stores = args.storage.open(&args.runtime.connection.data).await?;
    let (objects, catalog) = (stores.objects, stores.catalog);
    let contact = args.fetch.contact.as_ref();
    let fetcher = Arc::new(Fetcher::new(args.fetch.limits(), contact)?);
    let settings = SearchSettings {
        endpoints: args.search.clone(),
        keys: ApiKeys::from_environment()?,
        has_contact: contact.is_some(),
    };
    let searches = Searches::new(fetcher.clone(), catalog.clone(), &settings);
    let sources = SourceHandler::new(
        catalog.clone(),
        catalog.clone(),
        catalog.clone(),
        fetcher.clone(),
        searches,
    );
    let candidates = CandidateHandler::new(objects.clone(), fetcher);
    Ok(Service::new(NAME)
        .handler(sources)
        .handler(candidates)
        .probe("objects", objects_answer(&objects))
        .probe("catalog", catalog_answers(&catalog)))
}
