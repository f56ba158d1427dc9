//! Each provider from its first page to its last, and how it is asked.

use std::time::Duration;

use maskline_messages::{License, SearchProvider};
use serde_json::{Value, json};

use super::{
    CLIENT, Catalogs, KEY, SECRET, all_steps, keys, keys_with_openverse, scraper, search,
    server::{Answer, Asked, Server},
    step, urls, with_licenses,
};
use crate::turns::Turns;

/// The URLs of images with these numbers.
fn images(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    let url = |n| format!("https://images.example/{n}.jpg");
    numbers.into_iter().map(url).collect()
}

fn image(number: u64) -> String {
    images([number]).remove(0)
}

/// A page of Openverse, of 50 works in pages of the size that was asked for.
fn openverse(asked: &Asked, works: u64) -> Value {
    let (page, size) = (asked.number("page", 1), asked.number("page_size", 20));
    let begin = (page - 1) * size;
    let result = |n: u64| {
        json!({
            "id": format!("00000000-0000-0000-0000-{n:012}"),
            "url": image(n),
            "title": format!("Work {n}"),
            "license": "by-sa",
            "license_version": "2.0",
            "license_url": "https://creativecommons.org/licenses/by-sa/2.0/",
            "thumbnail": format!("https://api.example/v1/images/{n}/thumb/"),
        })
    };
    json!({
        "result_count": works,
        "page_count": works.div_ceil(size),
        "page_size": size,
        "page": page,
        "results": (begin..works.min(begin + size)).map(result).collect::<Vec<_>>(),
    })
}

#[tokio::test]
async fn openverse_without_a_key_gives_pages_of_twenty() {
    let server = Server::start(|asked| Answer::json(openverse(asked, 50))).await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());
    let search = search(&[SearchProvider::Openverse]);
    let search = with_licenses(search, &[License::Cc0, License::BySa]);

    let steps = all_steps(&scraper, &search).await.unwrap();

    assert_eq!(urls(&steps.candidates), images(0..50));
    assert_eq!(steps.cursors.len(), 3);
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.path == "/v1/images/"));
    let pages: Vec<_> = asked.iter().map(|asked| asked.number("page", 0)).collect();
    assert_eq!(pages, [1, 2, 3]);
    let query = &asked[0].query;
    assert_eq!(query["q"], "face mask");
    assert_eq!(query["license"], "cc0,by-sa");
    assert_eq!(
        (query["page_size"].as_str(), query["filter_dead"].as_str()),
        ("20", "true")
    );
    assert_eq!(asked[0].header("authorization"), None);
    let agent = asked[0].header("user-agent").unwrap();
    assert!(agent.starts_with("maskline/"), "{agent}");
}

#[tokio::test]
async fn openverse_without_a_key_ends_where_it_refuses_more() {
    let server = Server::start(|asked| match asked.number("page", 1) {
        1..=12 => Answer::json(openverse(asked, 100_000)),
        _ => Answer::status(401, json!({"detail": "Pages beyond 12 need a key"})),
    })
    .await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());

    let steps = all_steps(&scraper, &search(&[SearchProvider::Openverse])).await;

    assert_eq!(steps.unwrap().candidates.len(), 240);
}

#[tokio::test]
async fn openverse_with_a_key_is_asked_with_a_token_that_is_renewed_when_it_is_refused() {
    let server = Server::start(|asked| {
        let right = [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            ("client_secret", SECRET),
        ];
        if asked.path == "/v1/auth_tokens/token/" {
            assert!(
                right
                    .iter()
                    .all(|(name, value)| asked.form[*name] == *value)
            );
            return Answer::json(json!({
                "access_token": format!("token-{}", asked.form.len()),
                "expires_in": 43_200, "token_type": "Bearer", "scope": "read write groups",
            }));
        }
        assert_eq!(asked.header("authorization"), Some("Bearer token-3"));
        // The first token is withdrawn after the first page.
        static WITHDRAWN: std::sync::Once = std::sync::Once::new();
        if asked.number("page", 1) == 2 && !WITHDRAWN.is_completed() {
            WITHDRAWN.call_once(|| {});
            return Answer::status(401, json!({"detail": "Invalid token"}));
        }
        Answer::json(openverse(asked, 250))
    })
    .await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys_with_openverse());

    let steps = all_steps(&scraper, &search(&[SearchProvider::Openverse])).await;

    assert_eq!(urls(&steps.unwrap().candidates), images(0..250));
    let asked = server.asked();
    let paths: Vec<_> = asked.iter().map(|asked| asked.path.as_str()).collect();
    let (token, page) = ("/v1/auth_tokens/token/", "/v1/images/");
    assert_eq!(paths, [token, page, page, token, page, page]);
    assert_eq!(asked[1].query["page_size"], "100");
}

#[tokio::test]
async fn searches_that_wait_for_one_token_hold_no_turn() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/auth_tokens/token/" => Answer::json(json!({
            "access_token": "token", "expires_in": 43_200, "token_type": "Bearer", "scope": "read",
        })),
        _ => Answer::json(openverse(asked, 20)),
    })
    .await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys_with_openverse());
    let (search, turns) = (search(&[SearchProvider::Openverse]), Turns::default());
    let one = || turns.take(step(&scraper, &search, None));
    let steps = tokio::time::timeout(Duration::from_secs(30), async {
        tokio::join!(one(), one())
    });
    let (first, second) = steps.await.expect("none waits for the other for ever");
    assert_eq!(first.unwrap().candidates.len(), 20);
    assert_eq!(second.unwrap().candidates.len(), 20);
}

/// An answer of Commons about the files with these numbers, in the opposite order.
fn commons(numbers: std::ops::Range<u64>, more: Option<Value>) -> Value {
    let page = |n: u64| {
        json!({
            "pageid": 1000 + n, "ns": 6, "title": format!("File:Face {n}.jpg"), "index": n,
            "imagerepository": "local",
            "imageinfo": [{
                "size": 4_000_000, "width": 4000, "height": 3000, "mime": "image/jpeg",
                "url": format!("https://upload.example/{n}.jpg"),
                "thumburl": format!("{}?utm_source=api&utm_campaign=x", image(n)),
                "thumbwidth": 960, "thumbheight": 720,
                "descriptionurl": format!("https://commons.example/wiki/File:Face_{n}.jpg"),
                "extmetadata": {},
            }],
        })
    };
    let mut answer = json!({
        "batchcomplete": true,
        "query": { "pages": numbers.rev().map(page).collect::<Vec<_>>() },
    });
    if let Some(more) = more {
        answer["continue"] = more;
    }
    answer
}

#[tokio::test]
async fn commons_gets_everything_back_that_it_wants_for_the_next_page() {
    let server = Server::start(|asked| {
        let offset = asked.number("gsroffset", 0);
        Answer::json(match (offset, asked.query.get("iicontinue")) {
            (0, None) => commons(
                1..51,
                Some(json!({"gsroffset": 50, "continue": "gsroffset||"})),
            ),
            (50, None) => {
                assert_eq!(asked.query["continue"], "gsroffset||");
                // The second half of this page's properties comes with another answer.
                let mut answer = commons(51..61, None);
                for page in answer["query"]["pages"].as_array_mut().unwrap() {
                    if page["index"].as_u64() > Some(55) {
                        page.as_object_mut().unwrap().remove("imageinfo");
                    }
                }
                answer["batchcomplete"] = false.into();
                answer["continue"] =
                    json!({"gsroffset": 50, "iicontinue": "Face_56.jpg|x", "continue": "gsroffset||"});
                answer
            }
            (50, Some(at)) => {
                assert_eq!(at, "Face_56.jpg|x");
                commons(56..61, None)
            }
            other => panic!("{other:?} was never answered"),
        })
    })
    .await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());

    let steps = all_steps(&scraper, &search(&[SearchProvider::Commons])).await;

    // The addresses have no campaign any more, and the order is Commons' own.
    assert_eq!(urls(&steps.unwrap().candidates), images(1..61));
    let query = &server.asked()[0].query;
    assert_eq!(query["gsrsearch"], "filetype:bitmap face mask");
    assert_eq!(query["iiprop"], "url|size|mime|extmetadata");
    assert_eq!(query["iiurlwidth"], "960");
}

#[tokio::test]
async fn commons_gives_the_pictures_of_a_category() {
    let server = Server::start(|asked| {
        assert_eq!(asked.query["generator"], "categorymembers");
        assert_eq!(asked.query["gcmtitle"], "Category:Surgical masks");
        let mut answer = commons(1..4, None);
        for page in answer["query"]["pages"].as_array_mut().unwrap() {
            page.as_object_mut().unwrap().remove("index");
        }
        // PHP writes an empty object like this.
        answer["query"]["pages"][0]["imageinfo"][0]["extmetadata"] = json!([]);
        answer["query"]["pages"][1]["imageinfo"][0]["mime"] = "video/webm".into();
        Answer::json(answer)
    })
    .await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());
    let mut search = search(&[SearchProvider::Commons]);
    search.query = "Category:Surgical masks".to_owned();

    let steps = all_steps(&scraper, &search).await;

    assert_eq!(urls(&steps.unwrap().candidates), images([3, 1]));
}

/// What Flickr answers, with `photos` photographs.
fn flickr(asked: &Asked, photos: u64) -> Value {
    assert_eq!(asked.path, "/services/rest/");
    assert_eq!(asked.query["api_key"], KEY);
    if asked.query["method"] == "flickr.photos.licenses.getInfo" {
        return json!({ "stat": "ok", "licenses": { "license": [
            { "id": 0, "name": "All Rights Reserved", "url": "" },
            { "id": "4", "name": "CC BY 2.0", "url": "https://creativecommons.org/licenses/by/2.0/" },
            { "id": "9", "name": "CC0 1.0",
              "url": "https://creativecommons.org/publicdomain/zero/1.0/" },
            { "id": "11", "name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/" },
        ]}});
    }
    let (page, size) = (asked.number("page", 1), asked.number("per_page", 100));
    let begin = (page - 1) * size;
    let photo = |n: u64| {
        json!({
            "id": n.to_string(), "owner": "42@N01", "secret": "s", "server": "1", "farm": 1,
            "title": format!("Photo {n}"), "license": "4", "ownername": "Jane",
            "url_o": image(n), "height_o": 3000, "width_o": "4000",
        })
    };
    json!({ "stat": "ok", "photos": {
        "page": page, "pages": photos.div_ceil(size), "perpage": size, "total": photos.to_string(),
        "photo": (begin..photos.min(begin + size)).map(photo).collect::<Vec<_>>(),
    }})
}

#[tokio::test]
async fn flickr_is_asked_for_its_licences_once_and_for_4000_photographs_at_most() {
    let server = Server::start(|asked| Answer::json(flickr(asked, 6000))).await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());
    let search = search(&[SearchProvider::Flickr]);
    let search = with_licenses(search, &[License::By, License::Cc0]);

    let steps = all_steps(&scraper, &search).await.unwrap();

    assert_eq!(urls(&steps.candidates), images(0..4000));
    let asked = server.asked();
    assert_eq!(asked.len(), 1 + 8);
    assert_eq!(asked[1].query["license"], "4,9,11");
    assert_eq!(asked[1].query["extras"], "license,owner_name,url_l,url_o");
    assert_eq!(asked[8].query["page"], "8");
}

#[tokio::test]
async fn a_licence_that_flickr_does_not_have_gives_nothing() {
    let server = Server::start(|asked| Answer::json(flickr(asked, 6000))).await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());
    let search = search(&[SearchProvider::Flickr]);
    let search = with_licenses(search, &[License::ByNcNd]);

    let error = all_steps(&scraper, &search).await.unwrap_err().to_string();

    assert!(
        error.contains("no results") && error.contains("--license"),
        "{error}"
    );
    assert_eq!(server.asked().len(), 1, "nothing was searched for");
}

/// What SerpApi answers, of 250 images in pages of a hundred.
fn serpapi(asked: &Asked) -> Value {
    assert_eq!(asked.path, "/search.json");
    assert_eq!(asked.query["api_key"], KEY);
    let begin = match asked.query["engine"].as_str() {
        "google_images" => asked.number("ijn", 0) * 100,
        "bing_images" => asked.number("first", 1) - 1,
        engine => panic!("{engine} is no engine"),
    };
    if begin >= 250 {
        let error = "Google hasn't returned any results for this query.";
        return json!({ "search_metadata": { "status": "Success" }, "error": error });
    }
    let result = |n: u64| {
        json!({
            "position": n + 1, "title": format!("Face {n}"), "original": image(n),
            "thumbnail": format!("https://thumbs.example/{n}.jpg"),
            "original_width": 800, "original_height": 600,
            "link": format!("https://site.example/{n}"), "source": "Site",
        })
    };
    let results: Vec<_> = (begin..250.min(begin + 100)).map(result).collect();
    json!({ "search_metadata": { "status": "Success" }, "images_results": results })
}

#[tokio::test]
async fn google_and_bing_are_asked_through_serpapi_until_it_says_that_there_is_no_more() {
    for (provider, name, expected) in [
        (SearchProvider::SerpapiGoogle, "ijn", [0, 1, 2, 3]),
        (SearchProvider::SerpapiBing, "first", [1, 101, 201, 251]),
    ] {
        let server = Server::start(|asked| Answer::json(serpapi(asked))).await;
        let catalogs = Catalogs::new();
        let scraper = scraper(&server, catalogs.open().await, keys());

        let steps = all_steps(&scraper, &search(&[provider])).await;

        assert_eq!(urls(&steps.unwrap().candidates), images(0..250));
        let asked = server.asked();
        let pages: Vec<_> = asked.iter().map(|asked| asked.number(name, 99)).collect();
        assert_eq!(pages, expected);
    }
}

#[tokio::test]
async fn brave_gives_one_page() {
    let server = Server::start(|asked| {
        assert_eq!(asked.path, "/res/v1/images/search");
        assert_eq!(asked.query["count"], "200");
        assert_eq!(asked.header("x-subscription-token"), Some(KEY));
        let result = |n: u64| {
            json!({
                "type": "image_result", "title": "A face", "url": "https://site.example/",
                "source": "site.example", "thumbnail": { "src": "https://thumbs.example/1.jpg" },
                "properties": { "url": image(n), "width": 800, "height": 600 },
            })
        };
        let results: Vec<_> = (0..200).map(result).collect();
        Answer::json(json!({ "type": "images", "results": results }))
    })
    .await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());

    let steps = all_steps(&scraper, &search(&[SearchProvider::Brave])).await;

    assert_eq!(urls(&steps.unwrap().candidates), images(0..200));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn several_providers_come_one_after_the_other_until_there_are_enough() {
    let server = Server::start(|asked| {
        Answer::json(match asked.path.as_str() {
            "/v1/images/" => openverse(asked, 30),
            "/w/api.php" => commons(1000..1050, Some(json!({"gsroffset": 50}))),
            other => panic!("{other} was never to be asked"),
        })
    })
    .await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());
    let mut search = search(&[
        SearchProvider::Openverse,
        SearchProvider::Commons,
        SearchProvider::Flickr,
    ]);
    search.limit = 42;

    let steps = all_steps(&scraper, &search).await.unwrap();

    let expected = [images(0..30), images(1000..1012)].concat();
    assert_eq!(urls(&steps.candidates), expected);
    assert_eq!(steps.cursors.len(), 3);
}

#[tokio::test]
async fn a_step_that_is_taken_again_after_a_kill_finds_the_same_and_goes_on_the_same_way() {
    let server = Server::start(|asked| Answer::json(openverse(asked, 50))).await;
    let catalogs = Catalogs::new();
    let first = scraper(&server, catalogs.open().await, keys());
    let search = search(&[SearchProvider::Openverse]);
    let undisturbed = all_steps(&first, &search).await.unwrap();

    // Every step is taken twice, and the second time by another process.
    let mut found = vec![];
    for cursor in &undisturbed.cursors {
        let taken = step(&first, &search, cursor.as_deref()).await.unwrap();
        let other = scraper(&server, catalogs.open().await, keys());
        let again = step(&other, &search, cursor.as_deref()).await.unwrap();
        assert_eq!(taken.candidates, again.candidates);
        assert_eq!(taken.next_cursor, again.next_cursor);
        found.extend(again.candidates);
    }
    assert_eq!(found, undisturbed.candidates);
}
