//! How often providers are asked, by all replicas together.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::future::join_all;
use maskline_foundation::time::unix_millis;
use maskline_messages::SearchProvider;
use maskline_storage::{
    StorageError,
    catalog::Quotas,
    records::{Quota, Share, ShareLimit, ShareRequest, Turn},
};
use serde_json::{Value, json};

use super::{
    Catalogs, all_steps, keys, scraper, search,
    server::{Answer, Asked, Server},
    step,
};
use crate::expand::{ExpandError, search::limits};

/// A page of Openverse with one work.
fn page(asked: &Asked) -> Value {
    let number = asked.number("page", 1);
    json!({ "page_count": 12, "results": [
        { "url": format!("https://h/{number}.jpg"), "license": "by" } ]})
}

/// The wait of a step whose turn has not come.
fn postponed(error: ExpandError) -> Duration {
    match error {
        ExpandError::Postponed { after, .. } => after,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_quota_that_is_used_up_in_the_middle_makes_the_step_wait_and_costs_no_request() {
    let server = Server::start(|asked| Answer::json(page(asked))).await;
    let catalogs = Catalogs::new();
    let catalog = catalogs.open().await;
    // Others have used most of this minute.
    let (key, quota) = limits::quota_of(SearchProvider::Openverse, false, false);
    let address = server.url();
    let key = format!("{key}/{}", address["http://".len()..].trim_end_matches('/'));
    for _ in 0..18 {
        let turn = catalog.take_turn(&key, &quota, unix_millis()).await;
        assert_eq!(turn, Ok(Turn::Granted));
    }
    let openverse = search(&[SearchProvider::Openverse]);
    let scraper = scraper(&server, catalog, keys());
    let first = step(&scraper, &openverse, None).await.unwrap();
    let second = step(&scraper, &openverse, first.next_cursor.as_deref()).await;
    let third = second.unwrap().next_cursor;

    let refused = step(&scraper, &openverse, third.as_deref()).await;

    let wait = postponed(refused.unwrap_err());
    let minute = Duration::from_secs(50)..Duration::from_secs(70);
    assert!(minute.contains(&wait), "{wait:?}");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_pause_that_a_provider_asks_for_holds_all_replicas_off_and_ends() {
    let start = Instant::now();
    let server = Server::start(move |asked| {
        if asked.number("page", 1) == 2 && start.elapsed() < Duration::from_secs(1) {
            let throttled = json!({ "detail": "Request was throttled." });
            return Answer::status(429, throttled).with_header("retry-after", "2");
        }
        Answer::json(page(asked))
    })
    .await;
    let catalogs = Catalogs::new();
    let openverse = search(&[SearchProvider::Openverse]);
    let one = scraper(&server, catalogs.open().await, keys());
    let other = scraper(&server, catalogs.open().await, keys());
    let first = step(&one, &openverse, None).await.unwrap();

    let paused = step(&one, &openverse, first.next_cursor.as_deref()).await;
    assert_eq!(postponed(paused.unwrap_err()), Duration::from_secs(2));
    let wait = postponed(step(&other, &openverse, None).await.unwrap_err());

    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    assert_eq!(server.asked().len(), 2, "the other did not even ask");
    tokio::time::sleep(wait).await;
    let cursor = first.next_cursor.as_deref();
    step(&other, &openverse, cursor).await.expect("it is over");
}

#[tokio::test]
async fn a_provider_that_is_held_off_does_not_hold_off_others() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/images/" => Answer::status(429, json!({})).with_header("retry-after", "90"),
        _ => Answer::json(json!({ "results": [
            { "properties": { "url": "https://h/1.jpg" } } ]})),
    })
    .await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());
    let openverse = search(&[SearchProvider::Openverse]);
    let wait = postponed(step(&scraper, &openverse, None).await.unwrap_err());
    assert_eq!(wait, Duration::from_secs(90));
    let brave = search(&[SearchProvider::Brave]);
    let found = step(&scraper, &brave, None).await.unwrap();
    assert_eq!(found.candidates.len(), 1);
}

/// Quotas with other numbers than the providers', so that a test need not take minutes.
struct Tightened {
    inner: Arc<dyn Quotas>,
    quota: Quota,
}

#[async_trait]
impl Quotas for Tightened {
    async fn take_turn(&self, key: &str, _: &Quota, now: u64) -> Result<Turn, StorageError> {
        self.inner.take_turn(key, &self.quota, now).await
    }

    async fn share(
        &self,
        key: &str,
        limit: &ShareLimit,
        request: &ShareRequest,
        now: u64,
    ) -> Result<Share, StorageError> {
        self.inner.share(key, limit, request, now).await
    }

    async fn hold_off(&self, key: &str, pause: Duration, now: u64) -> Result<(), StorageError> {
        self.inner.hold_off(key, pause, now).await
    }
}

/// The provider counts for itself. It allows so many requests in so long.
const ALLOWED: u32 = 10;
const PERIOD: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_replicas_together_never_exceed_a_quota() {
    let server = Server::start(|asked| Answer::json(page(asked))).await;
    let catalogs = Catalogs::new();
    let quota = Quota::default().at_most(
        NonZeroU32::new(ALLOWED).unwrap(),
        // As for the real ones, see `limits`.
        PERIOD + limits::ON_THE_WAY / 2,
    );
    let mut replicas = vec![];
    for _ in 0..4 {
        let inner = catalogs.open().await;
        let quota = quota.clone();
        replicas.push(scraper(
            &server,
            Arc::new(Tightened { inner, quota }),
            keys(),
        ));
    }
    let openverse = search(&[SearchProvider::Openverse]);

    let searching = replicas
        .iter()
        .map(|replica| all_steps(replica, &openverse));
    let found = join_all(searching).await;

    for steps in found {
        assert_eq!(steps.unwrap().candidates.len(), 12);
    }
    let asked: Vec<_> = server.asked().into_iter().map(|asked| asked.at).collect();
    assert_eq!(asked.len(), 4 * 12, "nobody was ever refused");
    for &first in &asked {
        let period = first..first + PERIOD;
        let within = asked.iter().filter(|&at| period.contains(at));
        assert!(within.count() <= ALLOWED as usize);
    }
}
