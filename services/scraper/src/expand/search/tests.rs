//! Searches against a local server that answers as the providers do. All answers have the
//! shape of real ones, and are made up.

mod failures;
mod provenance;
mod providers;
mod quotas;
mod server;

use std::{sync::Arc, time::Duration};

use clap::Parser;
use maskline_messages::{Labeling, License, Location, Search, SearchProvider};
use maskline_storage::{Catalog, catalog::Quotas};
use maskline_test_support::environment::Environment;

use super::{ApiKeys, SearchArgs, SearchSettings, Searches};
use crate::{
    expand::{ExpandError, ExpansionStep, SourceCandidate},
    fetch::{FetchLimits, Fetcher},
};
use server::Server;

const KEY: &str = "hunter2-key";
const CLIENT: &str = "hunter2-client";
const SECRET: &str = "hunter2-secret";

fn limits() -> FetchLimits {
    FetchLimits {
        // The server is on this machine, and it may be asked because the flags name it.
        allow_private_hosts: false,
        ..FetchLimits::for_tests()
    }
}

/// The keys of all providers but Openverse, which can do without.
fn keys() -> ApiKeys {
    ApiKeys {
        openverse: None,
        flickr: Some(KEY.into()),
        serpapi: Some(KEY.into()),
        brave: Some(KEY.into()),
    }
}

fn keys_with_openverse() -> ApiKeys {
    ApiKeys {
        openverse: Some((CLIENT.into(), SECRET.into())),
        ..keys()
    }
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    search: SearchArgs,
}

/// The searches of one scraper, which asks `server` in place of all providers.
fn scraper(server: &Server, quotas: Arc<dyn Quotas>, keys: ApiKeys) -> Searches {
    let flags = ["openverse", "commons", "flickr", "serpapi", "brave"];
    let flags = flags.map(|name| format!("--{name}-url={}", server.url()));
    let program = ["scraper".to_owned()];
    let settings = SearchSettings {
        endpoints: Cli::parse_from(program.iter().chain(&flags)).search,
        keys,
        has_contact: true,
    };
    let fetcher = Fetcher::new(limits(), None, quotas.clone()).expect("the client starts");
    Searches::new(Arc::new(fetcher), quotas, &settings)
}

/// A catalog of its own, which keeps the quotas of a test.
struct Catalogs(Environment);

impl Catalogs {
    fn new() -> Self {
        Self(Environment::embedded())
    }

    async fn open(&self) -> Arc<dyn Catalog> {
        self.0.catalog().await
    }
}

fn search(providers: &[SearchProvider]) -> Search {
    Search {
        query: "face mask".to_owned(),
        providers: providers.to_vec(),
        limit: 100_000,
        licenses: vec![],
    }
}

fn with_licenses(search: Search, licenses: &[License]) -> Search {
    Search {
        licenses: licenses.to_vec(),
        ..search
    }
}

/// All steps of a search, with the cursor at which each began.
#[derive(Debug, Default)]
struct Steps {
    candidates: Vec<SourceCandidate>,
    cursors: Vec<Option<String>>,
}

async fn step(
    scraper: &Searches,
    search: &Search,
    cursor: Option<&str>,
) -> Result<ExpansionStep, ExpandError> {
    let label = "with_mask".parse().expect("a label");
    let labeling = Labeling::Declared { label };
    scraper.step(search, Some(&labeling), cursor).await
}

/// Takes all steps. A step whose turn has not come is taken after its wait, which must be
/// short.
async fn all_steps(scraper: &Searches, search: &Search) -> Result<Steps, ExpandError> {
    let mut steps = Steps::default();
    let mut cursor = None;
    loop {
        match step(scraper, search, cursor.as_deref()).await {
            Ok(taken) => {
                steps.candidates.extend(taken.candidates);
                steps.cursors.push(cursor);
                cursor = taken.next_cursor;
            }
            Err(ExpandError::Postponed { after, error }) => {
                assert!(after < Duration::from_secs(5), "{error:#}: {after:?}");
                tokio::time::sleep(after).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        if cursor.is_none() {
            return Ok(steps);
        }
    }
}

fn urls(candidates: &[SourceCandidate]) -> Vec<String> {
    let url = |candidate: &SourceCandidate| match &candidate.location {
        Location::Url(url) => url.to_string(),
        other => panic!("{other} is no URL"),
    };
    candidates.iter().map(url).collect()
}
