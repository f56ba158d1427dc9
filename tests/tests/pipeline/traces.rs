//! Promise 6: every image has one trace, through all the stages that it saw.

use maskline_messages::ImageId;
use maskline_tests::{
    collection::{Collection, End, class},
    collector::{Collector, Span},
    pictures::{face, jpeg},
    place::Place,
    process::Pipeline,
    site::{Manners, Site},
};

pub async fn every_image_is_one_trace_through_all_stages(place: &mut Place) {
    let mut collection = Collection::default();
    let good = jpeg(&face(30_000, true, 120));
    let page = "<!DOCTYPE html><p>This picture has moved</p>";
    let label = class(true);
    let rejected = End::Rejected("not_an_image");
    collection.add("good.jpg".to_owned(), label, good.clone(), End::Stored);
    collection.add("page.jpg".to_owned(), label, page.into(), rejected);
    let site = Site::serve(&collection, Manners::default()).await;
    let collector = Collector::start().await;
    place.trace_to(&collector);

    let pipeline = Pipeline::start(place, &Pipeline::STAGES).await;
    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let jobs = place.json(&args).await;
    // A service that stops sends its last spans.
    pipeline.stop().await;

    let (image, job) = trace_ids(place, &ImageId::of(&good)).await;
    assert_eq!(jobs[0]["trace_id"], job.as_str());
    assert_ne!(image, job);
    let hops = hops(&collector.trace(&image));
    assert_eq!(
        described(&hops),
        [
            "maskline-scraper: send scraper.candidates",
            "maskline-scraper: process scraper.candidates",
            "maskline-scraper: send validator.images",
            "maskline-validator: process validator.images",
            "maskline-validator: send labeler.images",
            "maskline-labeler: process labeler.images",
            "maskline-labeler: send storer.images",
            "maskline-storer: process storer.images",
        ]
    );
    follow_each_other(&hops);
    assert_eq!(hops[0].parent, "");
    assert_eq!(hops[0].links, std::slice::from_ref(&job));

    let (image, _) = trace_ids(place, &ImageId::of(page.as_bytes())).await;
    let hops = self::hops(&collector.trace(&image));
    assert_eq!(
        described(&hops)[3..],
        [
            "maskline-validator: process validator.images",
            "maskline-validator: send storer.images",
            "maskline-storer: process storer.images",
        ]
    );
    follow_each_other(&hops);
    let reason = hops[3].attribute("maskline.rejection.reason");
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

/// Of the image and of its job, as `maskline trace` prints them.
async fn trace_ids(place: &Place, image: &ImageId) -> (String, String) {
    let printed = place.json(&["trace", &image.to_string()]).await;
    let id = |what: &str| {
        let found = printed.iter().find(|line| line["what"] == what);
        let id = found.and_then(|line| line["trace_id"].as_str());
        id.unwrap_or_else(|| panic!("no trace of the {what}: {printed:?}"))
            .to_owned()
    };
    (id("image"), id("job"))
}

/// The spans of messages, without those of what is done meanwhile.
fn hops(spans: &[Span]) -> Vec<Span> {
    let is_hop = |span: &&Span| span.name.starts_with("send ") || span.name.starts_with("process ");
    spans.iter().filter(is_hop).cloned().collect()
}

fn described(hops: &[Span]) -> Vec<String> {
    let described = hops
        .iter()
        .map(|hop| format!("{}: {}", hop.service, hop.name));
    described.collect()
}

fn follow_each_other(hops: &[Span]) {
    for pair in hops.windows(2) {
        assert_eq!(pair[1].parent, pair[0].id, "{pair:#?}");
    }
}
