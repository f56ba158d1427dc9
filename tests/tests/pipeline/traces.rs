//! Every image has one trace, through all the stages that handled it.

use maskline_messages::ImageId;
use maskline_test_support::{collector::Collector, environment::Environment, span::Span};
use maskline_tests::{
    collection::{Collection, EndState, class},
    pictures::{face, jpeg},
    process::Pipeline,
    site::{Behaviour, Site},
};

pub async fn every_image_is_one_trace_through_all_stages(environment: &mut Environment) {
    let mut collection = Collection::default();
    let good = jpeg(&face(30_000, true, 120));
    let page = "<!DOCTYPE html><p>This picture has moved</p>";
    let label = class(true);
    let rejected = EndState::Rejected("not_an_image");
    collection.add("good.jpg".to_owned(), label, good.clone(), EndState::Stored);
    collection.add("page.jpg".to_owned(), label, page.into(), rejected);
    let site = Site::serve(&collection, Behaviour::default()).await;
    let collector = Collector::start().await;
    environment.trace_to(&collector);

    let pipeline = Pipeline::start(environment, &Pipeline::STAGES).await;
    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let jobs = environment.json(&args).await;
    // A service sends its last spans when it stops.
    pipeline.stop().await;

    let (image, job) = trace_ids(environment, &ImageId::of(&good)).await;
    assert_eq!(jobs[0]["trace_id"], job.as_str());
    assert_ne!(image, job);
    let hops = hops(&collector.trace(&image));
    assert_eq!(
        titles(&hops),
        [
            "scraper: send scraper.candidates",
            "scraper: process scraper.candidates",
            "scraper: send validator.images",
            "validator: process validator.images",
            "validator: send labeler.images",
            "labeler: process labeler.images",
            "labeler: send storer.images",
            "storer: process storer.images",
        ]
    );
    assert_follow_each_other(&hops);
    assert_eq!(hops[0].parent, None);
    assert_eq!(hops[0].links, std::slice::from_ref(&job));

    let (image, _) = trace_ids(environment, &ImageId::of(page.as_bytes())).await;
    let hops = self::hops(&collector.trace(&image));
    assert_eq!(
        titles(&hops)[3..],
        [
            "validator: process validator.images",
            "validator: send storer.images",
            "storer: process storer.images",
        ]
    );
    assert_follow_each_other(&hops);
    let reason = hops[3].text("maskline.rejection.reason");
    assert_eq!(reason, Some("not_an_image"));

    let names: Vec<String> = collector
        .trace(&job)
        .into_iter()
        .map(|span| span.name)
        .collect();
    for name in [
        "enqueue",
        "send scraper.sources",
        "process scraper.sources",
        "process storer.jobs",
        "freeze",
    ] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
}

/// The trace ids of the image and of its job, as `maskline trace` prints them.
async fn trace_ids(environment: &Environment, image: &ImageId) -> (String, String) {
    let printed = environment.json(&["trace", &image.to_string()]).await;
    let id = |what: &str| {
        let found = printed.iter().find(|line| line["what"] == what);
        let id = found.and_then(|line| line["trace_id"].as_str());
        id.unwrap_or_else(|| panic!("no trace of the {what}: {printed:?}"))
            .to_owned()
    };
    (id("image"), id("job"))
}

/// The spans of messages being sent and processed, without all others.
fn hops(spans: &[Span]) -> Vec<Span> {
    let is_hop = |span: &&Span| span.name.starts_with("send ") || span.name.starts_with("process ");
    spans.iter().filter(is_hop).cloned().collect()
}

fn titles(hops: &[Span]) -> Vec<String> {
    hops.iter().map(Span::title).collect()
}

fn assert_follow_each_other(hops: &[Span]) {
    for pair in hops.windows(2) {
        assert_eq!(pair[1].parent.as_ref(), Some(&pair[0].id), "{pair:#?}");
    }
}
