//! A search for images at services that search for them.
//!
//! A step is one page of one provider. The providers are asked one after the other, each until
//! it has no more results or the search has as many as it wants. How often a provider may be
//! asked is a quota that all replicas keep together; a step whose turn has not come waits in
//! the queue.
//!
//! * `provider`: what a provider is. `openverse`, `commons`, `flickr`, `serpapi`, `brave`: the
//!   providers.
//! * `service`: how every provider is asked. `limits`: how often. `keys`, `settings`: with
//!   which key, and where.
//! * `result`: what a provider says about an image, and the candidate that it becomes. `text`,
//!   `license`: texts, addresses and licences, made alike.
//! * `cursor`: the position of a step. `error`: how a request fails.

mod brave;
mod commons;
mod cursor;
mod error;
mod flickr;
mod keys;
mod license;
mod limits;
mod openverse;
mod provider;
mod result;
mod serpapi;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use maskline_messages::{Labeling, Search, SearchProvider};
use maskline_storage::catalog::Quotas;

use super::{candidate::ExpansionStep, error::ExpandError};
use crate::{fetch::Fetcher, turns::without_turn};
use brave::Brave;
use commons::Commons;
use cursor::SearchCursor;
use error::SearchError;
use flickr::Flickr;
use openverse::Openverse;
use provider::Provider;
use result::{PageContext, ResultPage};
use serpapi::{Engine, Serpapi};
use service::{Client, Service};

pub(crate) use keys::ApiKeys;
pub use settings::SearchArgs;
pub(crate) use settings::SearchSettings;

/// How many pages in a row may be without any result. MediaWiki may answer in parts, some of
/// which are empty.
const MAX_EMPTY_PAGES: u32 = 20;

/// Searches at all providers.
pub(crate) struct Searches {
    /// A provider that needs a key, and has none, is missing.
    providers: BTreeMap<SearchProvider, Box<dyn Provider>>,
}

impl Searches {
    pub(crate) fn new(
        fetcher: Arc<Fetcher>,
        quotas: Arc<dyn Quotas>,
        settings: &SearchSettings,
    ) -> Self {
        let client = Arc::new(Client { fetcher, quotas });
        let all = SearchProvider::ALL.iter();
        let present = all.filter_map(|&name| Some((name, provider(name, &client, settings)?)));
        Self {
            providers: present.collect(),
        }
    }

    /// Takes the step at `cursor`, which is one page.
    pub(crate) async fn step(
        &self,
        search: &Search,
        labeling: Option<&Labeling>,
        cursor: Option<&str>,
    ) -> Result<ExpansionStep, ExpandError> {
        let at = match cursor {
            Some(cursor) => SearchCursor::parse(cursor).map_err(|error| {
                ExpandError::Source(format!("the search can't go on at {cursor:?}: {error}"))
            })?,
            None => self.begin(search)?,
        };
        let Some(&name) = search.providers.get(at.provider) else {
            return Err(ExpandError::Source(
                "the search names no provider: enqueue it again".to_owned(),
            ));
        };
        // Searches of one provider wait for each other: for a token, or for the names of its
        // licences. None of them may have the turn meanwhile.
        let page = without_turn(self.page(name, search, &at)).await;
        let page = page.map_err(|error| error.at(name))?;
        let context = PageContext {
            search,
            provider: name,
            labeling,
        };
        let (step, next) = taken(page, &at, &context);
        tracing::debug!(%search, provider = %name, found = step.candidates.len(), "a page of results");
        match next {
            Some(next) => Ok(ExpansionStep {
                next_cursor: Some(next.text()),
                ..step
            }),
            None if at.found == 0 && step.candidates.is_empty() => {
                Err(ExpandError::Source(nothing_found(search)))
            }
            None => Ok(step),
        }
    }

    /// The position at which a search begins. A key that is missing is reported before
    /// anything is found.
    fn begin(&self, search: &Search) -> Result<SearchCursor, ExpandError> {
        let is_missing = |name: &&SearchProvider| !self.providers.contains_key(name);
        match search.providers.iter().find(is_missing) {
            Some(&name) => Err(SearchError::NoKey.at(name)),
            None => Ok(SearchCursor::default()),
        }
    }

    async fn page(
        &self,
        name: SearchProvider,
        search: &Search,
        at: &SearchCursor,
    ) -> Result<ResultPage, SearchError> {
        let provider = self.providers.get(&name).ok_or(SearchError::NoKey)?;
        let page = provider.page(search, at.page.as_deref()).await?;
        if page.next.is_some() && page.next == at.page {
            return Err(SearchError::Changed {
                field: "the next page".to_owned(),
                problem: "it is the page itself".to_owned(),
            });
        }
        Ok(page)
    }
}

/// The provider of this name, unless it needs a key and there is none.
fn provider(
    name: SearchProvider,
    client: &Arc<Client>,
    settings: &SearchSettings,
) -> Option<Box<dyn Provider>> {
    let keys = &settings.keys;
    let service = |secrets: Vec<secrecy::SecretString>| {
        let has_key = !secrets.is_empty();
        let (usual_key, quota) = limits::quota_of(name, has_key, settings.has_contact);
        let endpoint = settings.endpoint(name);
        Service {
            client: client.clone(),
            provider: name,
            quota_key: endpoint.quota_key(usual_key),
            endpoint,
            quota,
            secrets,
        }
    };
    let engine = |engine| {
        let key = keys.serpapi.clone()?;
        Some(Box::new(Serpapi::new(service(vec![key.clone()]), engine, key)) as Box<dyn Provider>)
    };
    match name {
        SearchProvider::Openverse => {
            let secrets = keys.openverse.iter().flat_map(|(id, secret)| [id, secret]);
            let service = service(secrets.cloned().collect());
            Some(Box::new(Openverse::new(service, keys.openverse.clone())))
        }
        SearchProvider::Commons => Some(Box::new(Commons::new(service(vec![])))),
        SearchProvider::Flickr => {
            let key = keys.flickr.clone()?;
            Some(Box::new(Flickr::new(service(vec![key.clone()]), key)))
        }
        SearchProvider::SerpapiGoogle => engine(Engine::Google),
        SearchProvider::SerpapiBing => engine(Engine::Bing),
        SearchProvider::Brave => {
            let key = keys.brave.clone()?;
            Some(Box::new(Brave::new(service(vec![key.clone()]), key)))
        }
    }
}

/// The candidates of a page, and the position at which the search goes on.
fn taken(
    page: ResultPage,
    at: &SearchCursor,
    context: &PageContext,
) -> (ExpansionStep, Option<SearchCursor>) {
    let search = context.search;
    let results = page.results.len() as u64;
    let room = usize::try_from(search.limit.saturating_sub(at.found)).unwrap_or(usize::MAX);
    let mut seen = HashSet::new();
    let candidates: Vec<_> = (at.rank + 1..)
        .zip(page.results)
        .filter_map(|(rank, result)| result.candidate(rank, context))
        .filter(|candidate| seen.insert(candidate.location.clone()))
        .take(room)
        .collect();
    let found = at.found + candidates.len() as u64;
    let empty = if results == 0 { at.empty + 1 } else { 0 };
    let next = if found >= search.limit {
        None
    } else if page.next.is_some() && empty <= MAX_EMPTY_PAGES {
        Some(SearchCursor {
            provider: at.provider,
            page: page.next,
            rank: at.rank + results,
            found,
            empty,
        })
    } else if at.provider + 1 < search.providers.len() {
        Some(SearchCursor {
            provider: at.provider + 1,
            found,
            ..SearchCursor::default()
        })
    } else {
        None
    };
    let step = ExpansionStep {
        candidates,
        next_cursor: None,
    };
    (step, next)
}

fn nothing_found(search: &Search) -> String {
    let fewer = match search.licenses.is_empty() {
        true => "",
        false => ", or allow more licences with --license",
    };
    format!("no results for the {search}: use other words or another --provider{fewer}")
}
