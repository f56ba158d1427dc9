//! Image search as a user sees it, with the services as processes and a provider on loopback.

mod provider;

use std::time::Duration;

use maskline_messages::{CandidateId, JobId, Location};
use maskline_test_support::{environment::Environment, wait::within};
use maskline_tests::process::{Pipeline, Process};
use provider::{IMAGES, Provider};

/// The pause between two looks at something that changes.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_search_goes_on_where_a_killed_scraper_was() {
    a_search_goes_on_where_a_killed_scraper_was(&mut Environment::embedded()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_a_search_goes_on_where_a_killed_scraper_was() {
    let mut environment = Environment::servers().await;
    a_search_goes_on_where_a_killed_scraper_was(&mut environment).await;
    environment.remove().await;
}

async fn a_search_goes_on_where_a_killed_scraper_was(environment: &mut Environment) {
    let provider = Provider::serve().await;
    environment.set("MASKLINE_OPENVERSE_URL", &provider.url());
    let others = Pipeline::start(environment, &["validator", "labeler", "storer"]).await;
    let mut scraper = Process::start(environment, "scraper").await;
    let search = ["search", "face mask", "--provider", "openverse"];
    let flags = ["--label", "with_mask", "--license", "by,by-sa"];
    let job = environment.enqueue(&[search, flags].concat()).await;
    let asked = async {
        while provider.times("openverse 2") == 0 {
            tokio::time::sleep(PAUSE).await;
        }
    };
    within("the second page", asked).await;
    // The message of the first page is acknowledged after that of the second page is sent, which
    // the scraper may take before. Killed between the two, it would rightly ask for both again.
    tokio::time::sleep(Duration::from_secs(1)).await;

    scraper.kill().await;
    provider.release();
    // If a pause counted as an attempt, it would be the last.
    let one_attempt = [("MASKLINE_RETRY_ATTEMPTS".to_owned(), "1".to_owned())];
    let mut another = Process::start_with(environment, "scraper", &one_attempt).await;

    let ended = environment.ended(job).await;
    let counts = ["found", "stored", "in_flight"].map(|name| ended[name].as_u64());
    assert_eq!(counts, [Some(IMAGES), Some(IMAGES), Some(0)], "{ended}");
    assert_eq!(
        provider.times("openverse 1"),
        1,
        "it went on at the second page"
    );
    assert_eq!(provider.times("openverse 2"), 2);
    assert_eq!(
        provider.times("openverse 3"),
        2,
        "it was asked again after the pause"
    );
    assert_eq!(provenance(environment, &provider, job).await, "by-sa 2.0");
    others.stop().await;
    another.stop().await;
}

/// The licence that is kept with the last image.
async fn provenance(environment: &Environment, provider: &Provider, job: JobId) -> String {
    let url = provider.image(IMAGES - 1).parse().expect("an address");
    let id = CandidateId::of(job, &Location::Url(url));
    let candidate = environment.catalog().await.candidate(id).await;
    let candidate = candidate
        .expect("the catalog answers")
        .expect("it is there");
    let provenance = candidate.provenance;
    assert_eq!(provenance.creator.as_deref(), Some("Jane"));
    assert_eq!(provenance.other["rank"], IMAGES.to_string());
    provenance.license.expect("the provider told it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_that_lacks_its_key_goes_on_when_the_key_is_there_and_nothing_shows_it() {
    let provider = Provider::serve().await;
    let mut environment = Environment::embedded();
    environment.set("MASKLINE_FLICKR_URL", &provider.url());
    let others = Pipeline::start(&environment, &["validator", "labeler", "storer"]).await;
    let search = ["search", "face mask", "--provider", "flickr"];
    let flags = ["--label", "with_mask", "--limit", "20"];
    let job = environment.enqueue(&[search, flags].concat()).await;
    let replay = ["dead-letters", "replay", "--all"];

    // Without a key, then with a wrong one, and at last with the right one.
    let mut scraper = Process::start(&environment, "scraper").await;
    let ended = environment.ended(job).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    let error = ended["error"].as_str().expect("it says why");
    assert!(error.contains("set MASKLINE_FLICKR_KEY"), "{error}");
    assert_eq!(provider.times("flickr"), 0);
    let mut logs = scraper.log();
    scraper.stop().await;

    let wrong = [("MASKLINE_FLICKR_KEY".to_owned(), "wrong-hunter2".to_owned())];
    let mut scraper = Process::start_with(&environment, "scraper", &wrong).await;
    environment.maskline(&replay).await;
    let refused = async {
        while !error_of(&environment, job)
            .await
            .contains("refuses to search")
        {}
    };
    within("the refusal", refused).await;
    logs += &scraper.log();
    scraper.stop().await;

    let file = environment.folder().join("flickr.key");
    std::fs::write(&file, "right-hunter2\n").expect("the folder is ours");
    let file = file.to_str().expect("a plain path").to_owned();
    let right = [("MASKLINE_FLICKR_KEY_FILE".to_owned(), file)];
    let mut scraper = Process::start_with(&environment, "scraper", &right).await;
    environment.maskline(&replay).await;
    let found = async { while status(&environment, job).await["stored"] != 20 {} };
    within("the images", found).await;
    let ended = environment.ended(job).await;
    let counts = ["found", "stored"].map(|name| ended[name].as_u64());
    assert_eq!(counts, [Some(20), Some(20)], "{ended}");
    logs += &scraper.log();
    scraper.stop().await;
    others.stop().await;

    let dead_letters = environment.maskline(&["dead-letters", "list"]).await;
    for (name, text) in [("log", &logs), ("list of dead letters", &dead_letters)] {
        assert!(
            !text.contains("hunter2"),
            "the {name} shows the key:\n{text}"
        );
    }
}

async fn status(environment: &Environment, job: JobId) -> serde_json::Value {
    let mut jobs = environment.json(&["status", &job.to_string()]).await;
    jobs.pop().expect("it prints the job")
}

async fn error_of(environment: &Environment, job: JobId) -> String {
    let status = status(environment, job).await;
    status["error"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn googles_own_search_is_refused_with_what_to_use_instead() {
    let environment = Environment::embedded();
    let search = ["enqueue", "search", "face mask", "--provider", "google"];
    let output = environment
        .run(&[&search[..], &["--label", "with_mask"]].concat(), &[])
        .await;
    assert!(!output.success);
    let said = output
        .stderr
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        said.contains("closed to new customers: use serpapi-google"),
        "{said}"
    );
}
