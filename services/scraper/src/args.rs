//! The service's flags, and the service that is made of them.

use std::{num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use maskline_runtime::{RetryPolicy, RuntimeArgs, Service};
use maskline_storage::{StorageArgs, catalog_answers, objects_answer, records::ShareLimit};

use crate::{
    NAME,
    expand::search::{ApiKeys, SearchArgs, SearchSettings, Searches},
    fetch::{Contact, FetchLimits, Fetcher, SiteLimits},
    stage::{CandidateHandler, DEFAULT_CONCURRENCY, SourceHandler},
};

/// Expands sources of images and downloads the images that it finds in them.
///
/// Takes SourceRequested and its own CandidateFound, sends ImageFetched, ImageRejected,
/// SourceExpanded and JobFailed. Several scrapers share one large source.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "maskline-scraper",
    version,
    after_help = "Example:\n  maskline-scraper --broker amqp://localhost --objects s3://maskline \\\n    --catalog mongodb://localhost/maskline --per-host-rate 5"
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
    /// Seconds from a request to the headers of its answer
    #[arg(long, env = "MASKLINE_ANSWER_TIMEOUT", value_name = "SECONDS", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub answer_timeout: u32,
    /// KiB that must arrive per second. A download that stays below it for 20 seconds is
    /// tried again later
    #[arg(
        long,
        env = "MASKLINE_MIN_RATE",
        value_name = "KIB",
        default_value_t = 1
    )]
    pub min_rate: u32,
    /// Seconds that one download may take, from its start to its end
    #[arg(long, env = "MASKLINE_FETCH_TIMEOUT", value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub fetch_timeout: u32,
    /// Redirects followed for one image
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub redirects: u32,
    /// Requests to one host at a time, by all scrapers together
    #[arg(long, env = "MASKLINE_PER_HOST", value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub per_host: u16,
    /// Requests to one host per second, by all scrapers together
    #[arg(
        long,
        env = "MASKLINE_PER_HOST_RATE",
        value_name = "N",
        default_value = "10"
    )]
    pub per_host_rate: NonZeroU32,
    /// A TOML file with limits of its own for some sites. See the README, "Manners"
    #[arg(long, env = "MASKLINE_SITE_LIMITS", value_name = "FILE")]
    pub site_limits: Option<PathBuf>,
    /// Also download from addresses that are not public, such as this machine and the local
    /// network
    #[arg(long, env = "MASKLINE_ALLOW_PRIVATE_HOSTS", value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_private_hosts: bool,
    /// Whom a site's operator can ask about this crawler: a mail address or the address of a
    /// page. It is a part of the User-Agent, and some sites allow more to who has it
    #[arg(long, env = "MASKLINE_CONTACT", value_name = "ADDRESS")]
    pub contact: Option<Contact>,
    /// Do not read robots.txt. Use this only for sites of your own
    #[arg(long, env = "MASKLINE_IGNORE_ROBOTS", value_parser = clap::builder::FalseyValueParser::new())]
    pub ignore_robots: bool,
    /// Also take images whose site has opted out: by X-Robots-Tag (noai, noimageai, noindex,
    /// noimageindex) or tdm-reservation. Use this only for sites of your own
    #[arg(long, env = "MASKLINE_IGNORE_OPT_OUTS", value_parser = clap::builder::FalseyValueParser::new())]
    pub ignore_opt_outs: bool,
}

impl FetchArgs {
    /// The limits of a process that has so many images `in_hand` at a time.
    pub(crate) fn limits(&self, in_hand: usize, retry: RetryPolicy) -> anyhow::Result<FetchLimits> {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let bytes = u64::from(self.max_mib) << 20;
        Ok(FetchLimits {
            bytes,
            bytes_in_flight: bytes.max(32 << 20),
            connect_timeout: seconds(self.connect_timeout),
            timeout: seconds(self.fetch_timeout),
            list_timeout: seconds(self.fetch_timeout) * 10,
            answer_timeout: seconds(self.answer_timeout.min(self.fetch_timeout)),
            min_rate: u64::from(self.min_rate) << 10,
            redirects: self.redirects,
            sites: self.sites()?,
            in_hand,
            retry,
            allow_private_hosts: self.allow_private_hosts,
            ignore_robots: self.ignore_robots,
            ignore_opt_outs: self.ignore_opt_outs,
        })
    }

    fn sites(&self) -> anyhow::Result<SiteLimits> {
        let has_contact = self.contact.is_some();
        let others = ShareLimit {
            at_a_time: self.per_host.into(),
            interval: Duration::from_secs(1) / self.per_host_rate.get(),
        };
        let limits = SiteLimits::new(others, has_contact);
        match &self.site_limits {
            Some(file) => limits.with_file(file, has_contact),
            None => Ok(limits),
        }
    }
}

/// The service, connected to its objects and its catalog.
pub async fn service(args: &Args) -> anyhow::Result<Service> {
    let in_hand = args
        .runtime
        .concurrency
        .map_or(DEFAULT_CONCURRENCY, usize::from);
    let limits = args.fetch.limits(in_hand, args.runtime.retry)?;
    let stores = args.storage.open(&args.runtime.connection.data).await?;
    let (objects, catalog) = (stores.objects, stores.catalog);
    let contact = args.fetch.contact.as_ref();
    let fetcher = Arc::new(Fetcher::new(limits, contact, catalog.clone())?);
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
        objects.clone(),
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
