//! Four scrapers are not four times as impolite as one.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use futures::future::join_all;
use maskline_test_support::{environment::Environment, wait::within};
use maskline_tests::process::Process;
use tokio::{net::TcpListener, time::sleep};

/// What a host allows, and the images that it has.
const AT_A_TIME: usize = 2;
const PER_SECOND: usize = 20;
const IMAGES: usize = 100;

/// How long the host takes for an answer: long enough for several requests at a time.
const TAKES: Duration = Duration::from_millis(80);

/// What the host has counted.
#[derive(Default)]
struct Counted {
    at_a_time: AtomicUsize,
    most_at_a_time: AtomicUsize,
    asked: Mutex<Vec<Instant>>,
}

impl Counted {
    async fn image(&self) -> &'static str {
        let now = self.at_a_time.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_a_time.fetch_max(now, Ordering::SeqCst);
        self.asked.lock().unwrap().push(Instant::now());
        sleep(TAKES).await;
        self.at_a_time.fetch_sub(1, Ordering::SeqCst);
        "a picture"
    }

    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().clone()
    }
}

pub async fn four_scrapers_together_keep_the_limits_of_a_host(environment: &mut Environment) {
    environment.set("MASKLINE_PER_HOST", &AT_A_TIME.to_string());
    environment.set("MASKLINE_PER_HOST_RATE", &PER_SECOND.to_string());
    let counted = Arc::new(Counted::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let for_images = counted.clone();
    let router = Router::new()
        .route("/robots.txt", get(async || StatusCode::NOT_FOUND))
        .route("/{image}", get(async move || for_images.image().await));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let list = environment.folder().join("list.txt");
    let urls = (0..IMAGES).map(|number| format!("http://{address}/{number}.jpg\n"));
    std::fs::write(&list, urls.collect::<String>()).unwrap();
    let starting = (0..4).map(|_| Process::start(environment, "scraper"));
    let scrapers = join_all(starting).await;

    let list = list.to_str().unwrap();
    environment
        .enqueue(&["urls", list, "--label", "with_mask"])
        .await;
    within("all images", async {
        while counted.asked().len() < IMAGES {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;

    let asked = counted.asked();
    let most = counted.most_at_a_time.load(Ordering::SeqCst);
    assert!(most <= AT_A_TIME, "{most} requests at a time");
    let within_a_second = |first: &Instant| {
        let second = *first..*first + Duration::from_secs(1);
        asked.iter().filter(|at| second.contains(*at)).count()
    };
    let most = asked.iter().map(within_a_second).max().unwrap();
    // A request may be on its way for a moment longer than the one after it.
    assert!(
        most <= PER_SECOND + PER_SECOND / 4,
        "{most} requests in a second"
    );
    for mut scraper in scrapers {
        assert!(scraper.stop().await.success());
    }
    serving.abort();
}
