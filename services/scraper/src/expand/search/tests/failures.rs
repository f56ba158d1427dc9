//! What goes wrong at a provider, and what the step says about it.

use std::time::Duration;

use maskline_messages::{Reason, SearchProvider};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{
    ApiKeys, CLIENT, Catalogs, KEY, SECRET, all_steps, keys, keys_with_openverse, limits, scraper,
    search,
    server::{Answer, Server},
    step,
};
use crate::{
    expand::ExpandError,
    fetch::{ApiRequest, FetchError, Fetcher},
};

/// How the first step of a search ends if the provider always answers this.
async fn failure(provider: SearchProvider, answer: Answer) -> ExpandError {
    let server = Server::start(move |_| answer.clone()).await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());
    match step(&scraper, &search(&[provider]), None).await {
        Ok(step) => panic!("{provider} found {step:?}"),
        Err(error) => error,
    }
}

/// The text of a failure that only the operator can end.
fn blocked(error: ExpandError) -> String {
    match error {
        ExpandError::Blocked(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_provider_without_its_key_is_not_asked_and_the_variable_is_named() {
    let server = Server::start(|_| panic!("nobody was to be asked")).await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, ApiKeys::default());
    for (provider, variable) in [
        (SearchProvider::Flickr, "MASKLINE_FLICKR_KEY"),
        (SearchProvider::SerpapiGoogle, "MASKLINE_SERPAPI_KEY"),
        (SearchProvider::SerpapiBing, "MASKLINE_SERPAPI_KEY"),
        (SearchProvider::Brave, "MASKLINE_BRAVE_KEY"),
    ] {
        // It comes last, and is missed before anything is found.
        let search = search(&[SearchProvider::Openverse, provider]);
        let text = blocked(step(&scraper, &search, None).await.unwrap_err());
        for said in [provider.as_str(), variable, "_FILE", "dead-letters replay"] {
            assert!(text.contains(said), "{text}");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_refused_is_never_shown() {
    let said = format!("Invalid API key {KEY}\u{1b}[2J");
    let cases = [
        (
            SearchProvider::SerpapiGoogle,
            Answer::status(401, json!({ "error": said })),
            "MASKLINE_SERPAPI_KEY",
        ),
        (
            SearchProvider::Flickr,
            Answer::json(json!({ "stat": "fail", "code": 100, "message": said })),
            "MASKLINE_FLICKR_KEY",
        ),
        (
            SearchProvider::Brave,
            Answer::status(
                422,
                json!({ "type": "ErrorResponse", "error": {
                    "code": "SUBSCRIPTION_TOKEN_INVALID", "detail": said, "status": 422 } }),
            ),
            "MASKLINE_BRAVE_KEY",
        ),
        (
            SearchProvider::Openverse,
            Answer::status(403, json!({ "detail": "Forbidden" })),
            "MASKLINE_OPENVERSE_CLIENT_ID and MASKLINE_OPENVERSE_CLIENT_SECRET",
        ),
        (
            SearchProvider::Commons,
            Answer::status(403, json!({})),
            "See what it asks for",
        ),
    ];
    for (provider, answer, expected) in cases {
        let text = blocked(failure(provider, answer).await);
        for said in [provider.as_str(), expected, "dead-letters replay"] {
            assert!(text.contains(said), "{text}");
        }
        assert!(
            !text.contains("hunter2") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_client_of_openverse_that_is_refused_is_never_shown() {
    let answer = json!({ "error": "invalid_client", "detail": format!("{CLIENT} {SECRET}") });
    let server = Server::start(move |_| Answer::status(401, answer.clone())).await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys_with_openverse());
    let search = search(&[SearchProvider::Openverse]);
    let text = blocked(step(&scraper, &search, None).await.unwrap_err());
    assert!(text.contains("MASKLINE_OPENVERSE_CLIENT_SECRET"), "{text}");
    assert!(text.contains("invalid_client"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_field_that_has_changed_is_named_with_its_provider() {
    let missing = |field: &str| format!("missing field `{field}`");
    let cases: [(SearchProvider, Value, &str, String); 8] = [
        (
            SearchProvider::Openverse,
            json!({ "page_count": 1, "results": [
                { "url": "https://h/1.jpg", "license": "by" },
                { "link": "https://h/2.jpg", "license": "by" },
            ]}),
            "results[1]",
            missing("url"),
        ),
        (
            SearchProvider::Openverse,
            json!({ "page_count": "one", "results": [] }),
            "page_count",
            "expected u64".to_owned(),
        ),
        (
            SearchProvider::Commons,
            json!({ "batchcomplete": true, "query": { "pages": [
                { "title": "File:A.jpg", "fileinfo": [] } ]}}),
            "query.pages[0].imageinfo",
            "missing".to_owned(),
        ),
        (
            SearchProvider::Commons,
            json!({ "query": { "pages": [
                { "title": "File:A.jpg", "imageinfo": [{ "mime": "image/png" }] } ]}}),
            "query.pages[0].imageinfo[0]",
            missing("url"),
        ),
        (
            SearchProvider::Flickr,
            json!({ "stat": "ok", "licences": [] }),
            ".",
            missing("licenses"),
        ),
        (
            SearchProvider::SerpapiBing,
            json!({ "image_results": [] }),
            "images_results",
            "missing".to_owned(),
        ),
        (
            SearchProvider::SerpapiGoogle,
            json!({ "images_results": [{ "original": { "link": "https://h/1.jpg" } }] }),
            "images_results[0].original",
            "expected a string".to_owned(),
        ),
        (
            SearchProvider::Brave,
            json!({ "results": [{ "title": "A", "image": "https://h/1.jpg" }] }),
            "results[0].properties",
            "missing".to_owned(),
        ),
    ];
    for (provider, answer, field, problem) in cases {
        let text = blocked(failure(provider, Answer::json(answer)).await);
        let field = format!("field `{field}`");
        for said in [
            provider.as_str(),
            &field,
            &problem,
            "Install a newer version",
        ] {
            assert!(text.contains(said), "{text}");
        }
    }
}

#[tokio::test]
async fn a_search_without_results_says_so() {
    let cases = [
        (
            SearchProvider::Openverse,
            json!({ "page_count": 0, "results": [] }),
        ),
        (SearchProvider::Commons, json!({ "batchcomplete": true })),
        (
            SearchProvider::SerpapiBing,
            json!({ "error": "Bing hasn't returned any results for this query." }),
        ),
        (SearchProvider::Brave, json!({ "results": [] })),
    ];
    for (provider, answer) in cases {
        let ExpandError::Source(text) = failure(provider, Answer::json(answer)).await else {
            panic!("{provider}: not the end of the job");
        };
        for said in [
            "no results",
            "\"face mask\"",
            provider.as_str(),
            "other words",
        ] {
            assert!(text.contains(said), "{text}");
        }
    }
}

#[tokio::test]
async fn one_provider_without_results_does_not_end_a_search_at_several() {
    let server = Server::start(|asked| {
        Answer::json(match asked.path.as_str() {
            "/w/api.php" => json!({ "batchcomplete": true }),
            "/v1/images/" => json!({ "page_count": 1, "results": [
                { "url": "https://h/1.jpg", "license": "by" } ]}),
            _ => json!({ "results": [] }),
        })
    })
    .await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());
    let search = search(&[
        SearchProvider::Commons,
        SearchProvider::Openverse,
        SearchProvider::Brave,
    ]);
    let steps = all_steps(&scraper, &search).await.unwrap();
    assert_eq!(steps.candidates.len(), 1);
    assert_eq!(steps.cursors.len(), 3);
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_counted() {
    let passing = [
        Answer::status(503, json!({})).with_header("retry-after", "7"),
        Answer::status(
            429,
            json!({ "error": "Your account has run out of searches." }),
        ),
        Answer {
            body: "<html>Back soon".to_owned(),
            ..Answer::json(json!({}))
        },
        Answer::json(json!({ "error": { "code": "ratelimited", "info": "too fast" } })),
    ];
    let pauses = [Some(7), Some(60), None, None];
    for (answer, pause) in passing.into_iter().zip(pauses) {
        let error = failure(SearchProvider::Commons, answer.clone()).await;
        let ExpandError::Retry { error, after } = error else {
            panic!("{answer:?}: {error:?}");
        };
        assert_eq!(after, pause.map(Duration::from_secs));
        assert!(format!("{error:#}").contains("commons"), "{error:#}");
    }
}

#[tokio::test]
async fn what_the_provider_can_not_do_ends_the_job() {
    let redirect = Answer::status(302, json!({})).with_header("location", "http://127.0.0.1:9/");
    let cases = [
        (
            Answer::status(400, json!({ "detail": "The query is too long" })),
            "too long",
        ),
        (redirect, "No redirect is followed"),
        (
            Answer::json(json!({ "error": { "code": "badvalue", "info": "No such thing" } })),
            "badvalue: No such thing",
        ),
    ];
    for (answer, expected) in cases {
        let ExpandError::Source(text) = failure(SearchProvider::Commons, answer).await else {
            panic!("{expected}: not the end of the job");
        };
        assert!(
            text.contains(expected) && text.contains("commons"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn pages_that_lead_in_a_circle_or_nowhere_end() {
    let circle = json!({ "continue": { "gsroffset": 50 }, "query": { "pages": [
        { "title": "File:A.jpg", "imageinfo": [{ "url": "https://h/1.jpg" }] } ]}});
    let server = Server::start(move |_| Answer::json(circle.clone())).await;
    let catalogs = Catalogs::new();
    let commons = search(&[SearchProvider::Commons]);
    let there = scraper(&server, catalogs.open().await, keys());
    let text = blocked(all_steps(&there, &commons).await.unwrap_err());
    assert!(text.contains("it is the page itself"), "{text}");

    let server = Server::start(|asked| {
        let next = asked.number("gsroffset", 0) + 50;
        Answer::json(json!({ "continue": { "gsroffset": next } }))
    })
    .await;
    let there = scraper(&server, catalogs.open().await, keys());
    let error = all_steps(&there, &commons).await.unwrap_err();
    assert!(matches!(error, ExpandError::Source(_)), "{error:?}");
    assert_eq!(server.asked().len(), 21);
}

#[tokio::test]
async fn a_cursor_that_is_none_ends_the_job() {
    let server = Server::start(|_| panic!("nobody was to be asked")).await;
    let catalogs = Catalogs::new();
    let scraper = scraper(&server, catalogs.open().await, keys());
    let openverse = search(&[SearchProvider::Openverse]);
    for cursor in [
        "17",
        r#"{"provider":0,"page":"two","rank":0,"found":0}"#,
        r#"{"provider":7,"page":null,"rank":0,"found":0}"#,
    ] {
        let error = step(&scraper, &openverse, Some(cursor)).await.unwrap_err();
        assert!(matches!(error, ExpandError::Source(_)), "{error:?}");
        assert!(
            error.to_string().contains("nqueue it again") || cursor == "17",
            "{error}"
        );
    }
}

#[tokio::test]
async fn only_an_address_that_the_operator_has_named_may_be_private() {
    let server = Server::start(|_| Answer::json(json!({}))).await;
    let catalogs = Catalogs::new();
    let fetcher = Fetcher::new(limits(), None, catalogs.open().await).unwrap();
    let call = async |is_operators| {
        let request = ApiRequest {
            url: server.url().parse().unwrap(),
            headers: HeaderMap::new(),
            form: None,
            is_operators,
        };
        fetcher.web().call(request, fetcher.budget()).await
    };
    let refused = call(false).await.err();
    let is_refused = matches!(
        refused,
        Some(FetchError::Rejected(Reason::RefusedAddress { .. }))
    );
    assert!(is_refused, "{refused:?}");
    assert_eq!(call(true).await.unwrap().bytes(), "{}");
}
