//! Searches by several scrapers at a provider that counts how often it is asked.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use futures::future::join_all;
use maskline_test_support::environment::Environment;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::report::Report;
use crate::process::Process;

/// How many scrapers search.
const SCRAPERS: usize = 4;
/// Openverse answers so many requests a minute to those who have no key.
const A_MINUTE: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);
/// How many results a page has, and how many pages a search has.
const RESULTS: u64 = 20;
const PAGES: u64 = 12;
/// The smallest part of the quota that must be used.
const USED: f64 = 0.8;

/// When each page was asked for.
type Asked = Arc<Mutex<Vec<Instant>>>;

/// Lets the scrapers search for so many minutes. There are always more searches than they may
/// ask for.
pub async fn run(report: &mut Report, minutes: u64) {
    let mut environment = Environment::servers().await;
    let asked = Asked::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("the port is bound");
    let router = Router::new()
        .route("/v1/images/", get(page))
        .with_state(asked.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    environment.set("MASKLINE_OPENVERSE_URL", &format!("http://{address}/"));
    let scrapers = (0..SCRAPERS).map(|_| Process::start(&environment, "scraper"));
    let scrapers = join_all(scrapers).await;
    let searches = (minutes + 1) * (A_MINUTE as u64) / PAGES + SCRAPERS as u64;
    for number in 0..searches {
        let words = format!("face {number}");
        let search = ["search", &words, "--provider", "openverse"];
        let flags = ["--label", "with_mask", "--no-freeze"];
        environment
            .enqueue(&[&search[..], &flags[..]].concat())
            .await;
    }
    report.log(format_args!(
        "{SCRAPERS} scrapers, {searches} searches of {PAGES} pages"
    ));
    for minute in 1..=minutes {
        tokio::time::sleep(MINUTE).await;
        let pages = times(&asked).len();
        report.log(format_args!("{pages} pages after {minute} minutes"));
    }
    let times = times(&asked);
    let most = most_within_a_minute(&times);
    report.check(
        most <= A_MINUTE,
        format_args!("{A_MINUTE} pages a minute allowed, at most {most} in any minute"),
    );
    let used = times.len() as f64 / (minutes * A_MINUTE as u64) as f64;
    report.check(
        used >= USED,
        format_args!(
            "{} pages in {minutes} minutes: {used:.2} of the quota",
            times.len()
        ),
    );
    drop(scrapers);
    serving.abort();
    environment.remove().await;
}

fn times(asked: &Asked) -> Vec<Instant> {
    asked
        .lock()
        .expect("nobody panics while holding it")
        .clone()
}

/// The largest number of requests in any minute, wherever it begins.
fn most_within_a_minute(times: &[Instant]) -> usize {
    let from = |first: &Instant| {
        let within = times
            .iter()
            .filter(|time| **time >= *first && time.duration_since(*first) < MINUTE);
        within.count()
    };
    times.iter().map(from).max().unwrap_or(0)
}

/// A page of results whose images are nowhere.
async fn page(
    State(asked): State<Asked>,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let times = asked.lock();
    times
        .expect("nobody panics while holding it")
        .push(Instant::now());
    let page: u64 = query["page"].parse().expect("a number");
    let result = |number: u64| {
        json!({
            "url": format!("http://127.0.0.1:9/{}/{page}/{number}.jpg", query["q"]),
            "license": "by", "license_version": "4.0",
        })
    };
    let results: Vec<Value> = (0..RESULTS).map(result).collect();
    Json(json!({ "page_count": PAGES, "results": results }))
}
