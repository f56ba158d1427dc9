//! Plays Openverse: it answers searches for drawn faces as the API at
//! <https://api.openverse.org/v1/> does.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use url::Url;

/// The pictures that each search finds, by its words.
pub(super) type Found = HashMap<&'static str, Vec<Url>>;

/// The routes of the API.
pub(super) fn router(found: Found) -> Router {
    Router::new()
        .route("/v1/images/", get(search))
        .route("/v1/auth_tokens/token/", post(token))
        .with_state(Arc::new(found))
}

async fn search(
    State(found): State<Arc<Found>>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    let number = |name: &str| parameters.get(name).and_then(|text| text.parse().ok());
    let (Some(page), Some(size)) = (number("page"), number("page_size")) else {
        let problem = json!({ "detail": "page and page_size are needed" });
        return (StatusCode::BAD_REQUEST, Json(problem)).into_response();
    };
    let query = parameters.get("q").map(String::as_str);
    let works = query.and_then(|query| found.get(query));
    Json(answer(works.map_or(&[], Vec::as_slice), page, size)).into_response()
}

/// One page of results.
fn answer(works: &[Url], page: usize, size: usize) -> Value {
    let size = size.max(1);
    let numbered = works.iter().enumerate();
    let results = numbered.skip(page.saturating_sub(1) * size).take(size);
    json!({
        "result_count": works.len(),
        "page_count": works.len().div_ceil(size),
        "page_size": size,
        "page": page,
        "results": results.map(|(n, url)| result(n, url)).collect::<Vec<_>>(),
    })
}

fn result(number: usize, url: &Url) -> Value {
    json!({
        "id": format!("00000000-0000-4000-8000-{number:012}"),
        "title": format!("Face {number}"),
        "url": url,
        "foreign_landing_url": format!("{url}?page"),
        "creator": "The demo",
        "creator_url": null,
        "license": "cc0",
        "license_version": "1.0",
        "license_url": "https://creativecommons.org/publicdomain/zero/1.0/",
        "attribution": "\"Face\" by the demo is marked with CC0 1.0.",
        "provider": "demo",
        "source": "demo",
        "width": null,
        "height": null,
        "filesize": null,
        "filetype": "jpg",
        "tags": [{ "name": "face" }],
        "mature": false,
        "thumbnail": null,
    })
}

/// Whoever has a key for the real Openverse in the environment asks for a token first.
async fn token() -> Json<Value> {
    Json(json!({ "access_token": "demo", "token_type": "Bearer", "expires_in": 3600 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_every_result_once() {
        let work = |n: usize| format!("http://127.0.0.1:1/{n}.jpg").parse().unwrap();
        let works: Vec<Url> = (0..45).map(work).collect();
        let found = (1..=3).flat_map(|page| {
            let answer = answer(&works, page, 20);
            assert_eq!(
                (&answer["page_count"], &answer["page"]),
                (&json!(3), &json!(page))
            );
            let results = answer["results"].as_array().unwrap().clone();
            results.into_iter().map(|result| result["url"].clone())
        });
        let expected: Vec<Value> = works.iter().map(|url| json!(url)).collect();
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(answer(&works, 4, 20)["results"], json!([]));
    }
}
