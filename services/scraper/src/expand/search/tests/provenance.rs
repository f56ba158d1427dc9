//! What becomes of a result: its address, its provenance, and whether its licence is wanted.

use std::collections::BTreeMap;

use maskline_messages::{License, Provenance, Reason, SearchProvider};
use serde_json::{Value, json};

use super::{
    Catalogs, all_steps, keys, scraper, search,
    server::{Answer, Server},
    urls, with_licenses,
};
use crate::expand::SourceCandidate;

/// The candidates of a provider that answers `answer` and has no more pages.
async fn found(
    provider: SearchProvider,
    licenses: &[License],
    answer: Value,
) -> Vec<SourceCandidate> {
    let server = Server::start(move |asked| match asked.query.get("method") {
        Some(method) if method == "flickr.photos.licenses.getInfo" => Answer::json(json!({
            "stat": "ok", "licenses": { "license": [
                { "id": "4", "name": "CC BY 2.0",
                  "url": "https://creativecommons.org/licenses/by/2.0/" },
                { "id": "7", "name": "No known copyright restrictions",
                  "url": "https://www.flickr.com/commons/usage/" },
            ]},
        })),
        _ if asked.number("ijn", 0) == 1 => Answer::json(json!({ "error": "no more" })),
        _ => Answer::json(answer.clone()),
    })
    .await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());
    let search = with_licenses(search(&[provider]), licenses);
    all_steps(&scraper, &search).await.unwrap().candidates
}

fn url(text: &str) -> Option<url::Url> {
    Some(text.parse().unwrap())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn other(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = [("query", "face mask")].iter().chain(pairs);
    let owned = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

#[tokio::test]
async fn openverse_tells_everything() {
    let candidates = found(
        SearchProvider::Openverse,
        &[],
        json!({ "result_count": 1, "page_count": 1, "page": 1, "page_size": 20, "results": [{
            "id": "6a4ce3a2-0000-4000-8000-000000000001",
            "title": "  A\u{1b}[31m face\n", "url": "https://live.example/1_b.jpg?utm_source=x",
            "foreign_landing_url": "https://www.flickr.example/photos/1?utm_medium=y",
            "creator": "Jane Doe", "creator_url": "https://www.flickr.example/people/jane",
            "license": "by-sa", "license_version": "2.0",
            "license_url": "https://creativecommons.org/licenses/by-sa/2.0/",
            "attribution": "\"A face\" by Jane Doe is licensed under CC BY-SA 2.0.",
            "provider": "flickr", "source": "flickr", "width": 1024, "height": 768,
            "filesize": null, "filetype": "jpg", "tags": [], "mature": false,
            "thumbnail": "https://api.example/thumb/",
        }]}),
    )
    .await;

    let [candidate] = &candidates[..] else {
        panic!("{candidates:?}");
    };
    assert_eq!(urls(&candidates), ["https://live.example/1_b.jpg"]);
    assert_eq!(candidate.label.as_ref().unwrap().as_str(), "with_mask");
    let expected = Provenance {
        landing_page: url("https://www.flickr.example/photos/1"),
        title: text("A [31m face"),
        creator: text("Jane Doe"),
        creator_url: url("https://www.flickr.example/people/jane"),
        license: text("by-sa 2.0"),
        license_url: url("https://creativecommons.org/licenses/by-sa/2.0/"),
        attribution: text("\"A face\" by Jane Doe is licensed under CC BY-SA 2.0."),
        other: other(&[
            ("provider", "openverse"),
            ("source", "flickr"),
            ("width", "1024"),
            ("height", "768"),
            ("rank", "1"),
        ]),
    };
    assert_eq!(candidate.provenance, expected);
}

#[tokio::test]
async fn commons_tells_the_author_in_html() {
    let candidates = found(
        SearchProvider::Commons,
        &[],
        json!({ "batchcomplete": true, "query": { "pages": [{
            "pageid": 7, "ns": 6, "title": "File:A face.jpg", "index": 1, "imageinfo": [{
                "url": "https://upload.example/a/A_face.jpg",
                "thumburl": "https://upload.example/thumb/a/960px-A_face.jpg?utm_source=api",
                "width": 4000, "height": 3000, "mime": "image/jpeg",
                "descriptionurl": "https://commons.example/wiki/File:A_face.jpg",
                "extmetadata": {
                    "Artist": { "value": "<a href=\"//commons.example/wiki/User:Jane\">Jane &amp; Co</a>", "source": "commons-desc-page" },
                    "LicenseShortName": { "value": "CC BY-SA 4.0", "hidden": "" },
                    "LicenseUrl": { "value": "https://creativecommons.org/licenses/by-sa/4.0" },
                },
            }],
        }]}}),
    )
    .await;

    assert_eq!(
        urls(&candidates),
        ["https://upload.example/thumb/a/960px-A_face.jpg"]
    );
    let expected = Provenance {
        landing_page: url("https://commons.example/wiki/File:A_face.jpg"),
        title: text("A face.jpg"),
        creator: text("Jane & Co"),
        creator_url: url("https://commons.example/wiki/User:Jane"),
        license: text("by-sa 4.0"),
        license_url: url("https://creativecommons.org/licenses/by-sa/4.0"),
        attribution: None,
        other: other(&[
            ("provider", "commons"),
            ("source", "wikimedia"),
            ("width", "4000"),
            ("height", "3000"),
            ("original", "https://upload.example/a/A_face.jpg"),
            ("rank", "1"),
        ]),
    };
    assert_eq!(candidates[0].provenance, expected);
}

#[tokio::test]
async fn flickr_tells_the_licence_by_a_number() {
    let photo = |id: &str, license: Value, urls: Value| {
        let mut photo = json!({ "id": id, "owner": "42@N01", "title": "A face",
            "license": license, "ownername": "Jane" });
        let fields = urls.as_object().unwrap().clone();
        photo.as_object_mut().unwrap().extend(fields);
        photo
    };
    let photos = [
        photo(
            "1",
            json!("4"),
            json!({ "url_o": "https://live.example/1_o.jpg", "width_o": "4000", "height_o": "3000", "url_l": "https://live.example/1_l.jpg" }),
        ),
        photo(
            "2",
            json!(7),
            json!({ "url_l": "https://live.example/2_l.jpg", "width_l": 1024, "height_l": 768 }),
        ),
        photo("3", json!("4"), json!({})),
    ];
    let candidates = found(
        SearchProvider::Flickr,
        &[],
        json!({ "stat": "ok", "photos": { "page": 1, "pages": 1, "total": 3, "photo": photos } }),
    )
    .await;

    let expected = [
        "https://live.example/1_o.jpg",
        "https://live.example/2_l.jpg",
    ];
    assert_eq!(urls(&candidates), expected, "the third has no address");
    let expected = Provenance {
        landing_page: url("https://www.flickr.com/photos/42@N01/1"),
        title: text("A face"),
        creator: text("Jane"),
        creator_url: url("https://www.flickr.com/people/42@N01/"),
        license: text("by 2.0"),
        license_url: url("https://creativecommons.org/licenses/by/2.0/"),
        attribution: None,
        other: other(&[
            ("provider", "flickr"),
            ("source", "flickr"),
            ("width", "4000"),
            ("height", "3000"),
            ("rank", "1"),
        ]),
    };
    assert_eq!(candidates[0].provenance, expected);
    let second = &candidates[1].provenance;
    assert_eq!(second.license, text("no known copyright restrictions"));
    assert_eq!(second.other["width"], "1024");
}

#[tokio::test]
async fn a_result_without_its_original_is_its_thumbnail_and_says_so() {
    let of_serpapi = json!({ "images_results": [
        { "position": 1, "title": "A", "original": "x-raw-image:///4f2a",
          "thumbnail": "https://thumbs.example/1.jpg", "link": "https://site.example/1" },
        { "position": 2, "title": "B", "thumbnail": "https://thumbs.example/2.jpg" },
        { "position": 3, "title": "C", "original": "https://site.example/3.jpg",
          "original_width": 640, "original_height": 480 },
        { "position": 4, "title": "D" },
    ]});
    let candidates = found(SearchProvider::SerpapiGoogle, &[], of_serpapi).await;
    let expected = [
        "https://thumbs.example/1.jpg",
        "https://thumbs.example/2.jpg",
        "https://site.example/3.jpg",
    ];
    assert_eq!(urls(&candidates), expected);
    let thumbnails = candidates.iter().map(|candidate| {
        let thumbnail = candidate.provenance.other.get("thumbnail");
        thumbnail.map(String::as_str)
    });
    assert_eq!(
        thumbnails.collect::<Vec<_>>(),
        [Some("true"), Some("true"), None]
    );
    assert_eq!(candidates[0].provenance.license, None);

    let of_brave = json!({ "results": [
        { "title": "A", "url": "https://site.example/1", "source": "site.example",
          "thumbnail": { "src": "https://thumbs.example/1.jpg" }, "properties": {} },
    ]});
    let candidates = found(SearchProvider::Brave, &[], of_brave).await;
    assert_eq!(urls(&candidates), ["https://thumbs.example/1.jpg"]);
    let provenance = &candidates[0].provenance;
    assert_eq!(provenance.other["thumbnail"], "true");
    assert_eq!(provenance.landing_page, url("https://site.example/1"));
}

#[tokio::test]
async fn only_the_wanted_licences_are_taken_whatever_the_provider_gives() {
    let work = |n: u64, license: &str, version: &str| {
        json!({ "url": format!("https://live.example/{n}.jpg"), "license": license,
            "license_version": version })
    };
    let works = [
        work(1, "by", "2.0"),
        work(2, "by-nc", "2.0"),
        work(3, "cc0", "1.0"),
        work(4, "sampling+", "1.0"),
    ];
    let candidates = found(
        SearchProvider::Openverse,
        &[License::By, License::Cc0],
        json!({ "page_count": 1, "results": works }),
    )
    .await;
    let rejected: Vec<_> = candidates.into_iter().map(|c| c.rejected).collect();
    let license = |name: &str| {
        let license = text(name);
        Some(Reason::License { license })
    };
    let expected = [None, license("by-nc 2.0"), None, license("sampling+")];
    assert_eq!(rejected, expected);
}

#[tokio::test]
async fn a_result_without_a_known_licence_is_rejected_if_licences_are_asked_for() {
    let answer = json!({ "images_results": [
        { "position": 1, "original": "https://site.example/1.jpg" },
    ]});
    let provider = SearchProvider::SerpapiGoogle;
    let candidates = found(provider, &[License::By], answer.clone()).await;
    let unknown = Reason::License { license: None };
    assert_eq!(candidates[0].rejected, Some(unknown));
    assert!(
        !candidates[0].provenance.is_empty(),
        "it is kept all the same"
    );
    let candidates = found(provider, &[], answer).await;
    assert_eq!(candidates[0].rejected, None);
}
