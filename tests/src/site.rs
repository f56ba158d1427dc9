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
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use maskline_messages::ImageId;
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};

use crate::collection::{Collection, Entry};

/// The path of the list.
pub const LIST: &str = "list.csv";

/// The first line of a list.
const COLUMNS: &str = "url,label\n";

/// The number of lists of a collection's parts.
pub const PARTS: usize = 3;

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
    /// Serves the files of `collection`, a CSV list of it at [`Site::list`], and lists of its
    /// parts at [`Site::parts`].
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
            .with_state(content.clone());
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
