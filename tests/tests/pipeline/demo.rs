//! `maskline demo`, offline and online.

use maskline_test_support::environment::Environment;
use maskline_tests::{
    collection::Collection,
    site::{Behaviour, Site},
};
use serde_json::{Value, json};

/// A short run of the demo. The demo keeps everything in its own folder, whatever the environment
/// says.
const SHORT: [&str; 4] = ["demo", "--epochs", "1", "--data"];

fn sum(jobs: &[Value], field: &str) -> u64 {
    let counts = jobs.iter().map(|job| job[field].as_u64().expect("a count"));
    counts.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_trains_on_two_searches_a_page_and_a_list_and_tests_on_another() {
    let environment = Environment::embedded();
    let small = ["demo-data", "--faces", "20", "--dirt", "6"];
    let jobs = environment.json(&[&SHORT[..], &small].concat()).await;
    let kinds = jobs.iter().map(|job| {
        let source = job["source"].as_str().expect("a text");
        source.split(' ').next().unwrap_or_default()
    });
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        ["search", "search", "page", "URL", "URL"]
    );
    assert!(
        jobs.iter().all(|job| job["version"] == "demo@1"),
        "{jobs:#?}"
    );
    // Faces of two classes, as many mirrored ones as there are of each kind of dirt, and a tenth
    // as many from elsewhere.
    assert_eq!(sum(&jobs, "stored"), 2 * 20 + 6 + 2 * 2);
    assert_eq!(sum(&jobs, "rejected"), 10 * 6);
    let run = &jobs[4]["runs"][0];
    assert_eq!(run["state"], "done", "{run:#}");
    let tested = &run["evaluation"]["test"];
    assert_eq!(tested["images"], 4);
    assert_eq!(tested["sources"][0]["source"], jobs[3]["source"]);
    assert_eq!(run["evaluation"]["validation"]["more_sources"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_online_demo_asks_the_providers_for_both_classes() {
    let mut environment = Environment::embedded();
    let site = Site::serve(&Collection::faces(1, 20), Behaviour::default()).await;
    environment.set("MASKLINE_OPENVERSE_URL", &site.url());
    environment.set("MASKLINE_COMMONS_URL", &site.url());
    let online = ["demo-data", "--online"];
    let jobs = environment.json(&[&SHORT[..], &online].concat()).await;
    let states = jobs.iter().map(|job| (&job["stored"], &job["version"]));
    let (stored, version) = (json!(20), json!("demo@1"));
    assert!(states.eq([(&stored, &version); 2]), "{jobs:#?}");
    let run = &jobs[1]["runs"][0];
    assert_eq!(run["state"], "done", "{run:#}");
    let sources = run["evaluation"]["validation"]["sources"].as_array();
    assert_eq!(sources.expect("a list").len(), 2);
    assert_eq!(run["evaluation"]["test"], Value::Null);
}
