//! A small web site on loopback that serves a collection and the list of its URLs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use maskline_messages::ImageId;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};

use crate::collection::{Collection, Entry, class};

/// The path of the list.
pub const LIST: &str = "list.csv";

/// The first line of a list.
const COLUMNS: &str = "url,label\n";

/// The number of lists of a collection's parts.
pub const PARTS: usize = 3;

/// The path of the page.
const PAGE: &str = "page.html";

/// A web site that serves until it is dropped.
pub struct Site {
    address: SocketAddr,
    release: watch::Sender<bool>,
    content: Arc<Content>,
    serving: AbortHandle,
}

/// How the site misbehaves.
#[derive(Default)]
pub struct Behaviour {
    /// Paths that answer 503 to their first request.
    pub busy_once: BTreeSet<String>,
    /// Paths that answer nothing until [`Site::release_held`].
    pub held: BTreeSet<String>,
}

struct Content {
    files: BTreeMap<String, Bytes>,
    held: BTreeSet<String>,
    busy_once: Mutex<BTreeSet<String>>,
    busy: Mutex<BTreeSet<String>>,
    /// How many pictures were sent.
    sent: AtomicU64,
    released: watch::Receiver<bool>,
}

impl Site {
    /// Serves the files of `collection`, a CSV list of it at [`Site::list`], lists of its parts at
    /// [`Site::parts`], and a page with its pictures at [`Site::page`]. It also plays Openverse,
    /// which finds the faces with masks if the words have "mask" in them and else those without,
    /// and a Commons that finds nothing.
    pub async fn serve(collection: &Collection, behaviour: Behaviour) -> Self {
        Self::serve_with(collection, behaviour, |_| vec![]).await
    }

    /// Serves `more` files, too, each by its path. They may hold the address of the site.
    pub async fn serve_with(
        collection: &Collection,
        behaviour: Behaviour,
        more: impl FnOnce(SocketAddr) -> Vec<(String, Bytes)>,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("the port is bound");
        let with_file = |entry: &Entry| Some((entry.path.clone(), entry.file.clone()?));
        let mut files: BTreeMap<_, _> = collection.entries.iter().filter_map(with_file).collect();
        let entries = collection.entries.iter();
        let entries =
            entries.map(|entry| format!("http://{address}/{},{}\n", entry.path, entry.label));
        let bad_lines = collection.bad_lines.iter();
        let lines: Vec<String> = entries
            .chain(bad_lines.map(|(line, _)| format!("{line}\n")))
            .collect();
        let list = COLUMNS.to_owned() + &lines.concat();
        files.insert(LIST.to_owned(), list.into());
        for number in 0..PARTS {
            let lines = lines.iter().skip(number).step_by(PARTS);
            let list = COLUMNS.to_owned() + &lines.map(String::as_str).collect::<String>();
            files.insert(part(number), list.into());
        }
        files.extend(more(address));
        let pictures = collection.entries.iter();
        let pictures = pictures.map(|entry| format!("<img src=\"/{}\">\n", entry.path));
        files.insert(PAGE.to_owned(), pictures.collect::<String>().into());
        let found = [true, false].map(|masked| {
            let of_class = collection.entries.iter();
            let of_class = of_class.filter(|entry| entry.label == class(masked));
            let url = |entry: &Entry| format!("http://{address}/{}", entry.path);
            of_class.map(url).collect::<Vec<_>>()
        });
        let (release, released) = watch::channel(false);
        let content = Arc::new(Content {
            files,
            held: behaviour.held,
            busy_once: Mutex::new(behaviour.busy_once),
            busy: Mutex::default(),
            sent: AtomicU64::new(0),
            released,
        });
        let router = Router::new()
            .route("/{*path}", get(file))
            .with_state(content.clone())
            .route("/v1/images/", get(openverse))
            .with_state(Arc::new(found))
            .route("/w/api.php", get(nothing_at_commons));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            release,
            content,
            serving: serving.abort_handle(),
        }
    }

    /// The address of the list.
    pub fn list(&self) -> String {
        self.file(LIST)
    }

    /// The address of a file.
    pub fn file(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The addresses of [`PARTS`] lists, which together name what the whole list names.
    pub fn parts(&self) -> Vec<String> {
        let address = |number| self.file(&part(number));
        (0..PARTS).map(address).collect()
    }

    /// The address of the page.
    pub fn page(&self) -> String {
        self.file(PAGE)
    }

    /// The address of the site, and of the APIs that it plays.
    pub fn url(&self) -> String {
        self.file("")
    }

    /// How many pictures it has sent so far. A picture that was asked for with its `ETag` and
    /// has not changed is not sent.
    pub fn pictures_sent(&self) -> u64 {
        self.content.sent.load(Ordering::Relaxed)
    }

    /// From now on these paths answer 503, and no others.
    pub fn set_busy(&self, paths: impl IntoIterator<Item = String>) {
        let mut busy = self.content.busy.lock();
        let busy = busy
            .as_deref_mut()
            .expect("nobody panics while holding the lock");
        *busy = paths.into_iter().collect();
    }

    /// From now on the held files are served, too.
    pub fn release_held(&self) {
        self.release.send_replace(true);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The path of a part's list.
pub fn part(number: usize) -> String {
    format!("part-{number}.csv")
}

async fn file(
    Path(path): Path<String>,
    State(content): State<Arc<Content>>,
    headers: HeaderMap,
) -> Response {
    let busy_once = |path: &str| {
        let busy = content.busy_once.lock();
        busy.unwrap_or_else(PoisonError::into_inner).remove(path)
    };
    let busy = |path: &str| {
        let busy = content.busy.lock();
        busy.unwrap_or_else(PoisonError::into_inner).contains(path)
    };
    if busy_once(&path) || busy(&path) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if content.held.contains(&path) {
        // An error means that the site is dropped. The request is answered all the same.
        let _ = content
            .released
            .clone()
            .wait_for(|released| *released)
            .await;
    }
    let Some(file) = content.files.get(&path) else {
        return (StatusCode::NOT_FOUND, "no such picture").into_response();
    };
    let other = match path.rsplit_once('.') {
        Some((_, "csv")) => Some("text/csv"),
        Some((_, "html")) => Some("text/html"),
        Some((_, "gz" | "zip" | "parquet")) => Some("application/octet-stream"),
        _ => None,
    };
    if let Some(other) = other {
        return ([(header::CONTENT_TYPE, other)], file.clone()).into_response();
    }
    let etag = format!("\"{}\"", ImageId::of(file));
    let known = headers.get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    content.sent.fetch_add(1, Ordering::Relaxed);
    let about = [
        (header::CONTENT_TYPE, "image/jpeg".to_owned()),
        (header::ETAG, etag),
    ];
    (about, file.clone()).into_response()
}

/// Answers as Openverse does. The state has the addresses of the faces with masks and of those
/// without.
async fn openverse(
    State(found): State<Arc<[Vec<String>; 2]>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    let number = |name: &str| -> usize { query[name].parse().expect("a number") };
    let (page, size) = (number("page"), number("page_size"));
    let works = &found[usize::from(!query["q"].contains("mask"))];
    let result = |url: &String| {
        json!({
            "url": url, "title": "A face", "creator": "Jane", "license": "by",
            "license_version": "4.0", "foreign_landing_url": "https://example.org/face",
            "license_url": "https://creativecommons.org/licenses/by/4.0/",
        })
    };
    let results = works.iter().skip((page - 1) * size).take(size).map(result);
    Json(json!({
        "result_count": works.len(), "page_count": works.len().div_ceil(size), "page_size": size,
        "page": page, "results": results.collect::<Vec<_>>(),
    }))
}

async fn nothing_at_commons() -> Json<Value> {
    Json(json!({ "batchcomplete": true }))
}
