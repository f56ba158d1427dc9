//! A server on loopback that answers as Openverse and Flickr do, and serves the images that it
//! finds.

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use maskline_tests::pictures::{face, jpeg};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};

/// How many images a search finds.
pub const IMAGES: u64 = 50;

/// The server, until it is dropped.
pub struct Provider {
    address: SocketAddr,
    state: Arc<Asked>,
    release: watch::Sender<bool>,
    serving: AbortHandle,
}

struct Asked {
    address: SocketAddr,
    /// How often each page and each image was asked for.
    times: Mutex<BTreeMap<String, u32>>,
    released: watch::Receiver<bool>,
}

impl Asked {
    fn times(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.times.lock().expect("nobody panics while holding it")
    }

    /// Returns how often it was asked for before.
    fn note(&self, what: &str) -> u32 {
        let mut times = self.times();
        let times = times.entry(what.to_owned()).or_default();
        *times += 1;
        *times - 1
    }

    fn image(&self, number: u64) -> String {
        format!("http://{}/images/{number}.jpg", self.address)
    }
}

impl Provider {
    /// Serves. When they are asked for the first time, the second page of Openverse is held, and
    /// the third is refused with a pause of a second.
    pub async fn serve() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("the port is bound");
        let (release, released) = watch::channel(false);
        let state = Arc::new(Asked {
            address,
            times: Mutex::default(),
            released,
        });
        let router = Router::new()
            .route("/v1/images/", get(openverse))
            .route("/services/rest/", get(flickr))
            .route("/images/{file}", get(image))
            .with_state(state.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            state,
            release,
            serving: serving.abort_handle(),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The address of the image with this number.
    pub fn image(&self, number: u64) -> String {
        self.state.image(number)
    }

    /// How often a page, such as `openverse 2`, or an image was asked for.
    pub fn times(&self, what: &str) -> u32 {
        self.state.times().get(what).copied().unwrap_or_default()
    }

    /// From now on nothing is held.
    pub fn release(&self) {
        self.release.send_replace(true);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Parameters = Query<HashMap<String, String>>;

async fn openverse(State(asked): State<Arc<Asked>>, Query(query): Parameters) -> Response {
    let number = |name: &str| -> u64 { query[name].parse().expect("a number") };
    let (page, size) = (number("page"), number("page_size"));
    match (page, asked.note(&format!("openverse {page}"))) {
        (2, 0) => {
            // An error means that the test has ended.
            let _ = asked.released.clone().wait_for(|released| *released).await;
        }
        (3, 0) => {
            let throttled = Json(json!({ "detail": "Request was throttled." }));
            let pause = [(header::RETRY_AFTER, "1")];
            return (StatusCode::TOO_MANY_REQUESTS, pause, throttled).into_response();
        }
        _ => {}
    }
    let begin = (page - 1) * size;
    let work = |n: u64| {
        json!({
            "url": asked.image(n), "title": format!("Face {n}"), "creator": "Jane",
            "license": "by-sa", "license_version": "2.0",
            "license_url": "https://creativecommons.org/licenses/by-sa/2.0/",
        })
    };
    let works: Vec<_> = (begin..IMAGES.min(begin + size)).map(work).collect();
    Json(json!({ "page_count": IMAGES.div_ceil(size), "results": works })).into_response()
}

async fn flickr(State(asked): State<Arc<Asked>>, Query(query): Parameters) -> Json<Value> {
    if query["method"] == "flickr.photos.licenses.getInfo" {
        let url = "https://creativecommons.org/licenses/by/2.0/";
        let license = json!([{ "id": "4", "name": "CC BY 2.0", "url": url }]);
        return Json(json!({ "stat": "ok", "licenses": { "license": license } }));
    }
    asked.note("flickr");
    if query["api_key"].contains("wrong") {
        let message = format!("Invalid API Key ({})", query["api_key"]);
        return Json(json!({ "stat": "fail", "code": 100, "message": message }));
    }
    let photo = |n: u64| json!({ "id": n.to_string(), "owner": "1@N1", "license": "4", "url_l": asked.image(n) });
    let photos: Vec<_> = (0..IMAGES).map(photo).collect();
    Json(json!({ "stat": "ok", "photos": { "page": 1, "pages": 1, "photo": photos } }))
}

async fn image(State(asked): State<Arc<Asked>>, Path(file): Path<String>) -> Response {
    asked.note(&file);
    let number = file.strip_suffix(".jpg").and_then(|text| text.parse().ok());
    let picture = jpeg(&face(70_000 + number.unwrap_or(0), true, 120));
    ([(header::CONTENT_TYPE, "image/jpeg")], picture).into_response()
}
