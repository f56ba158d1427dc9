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
    /// Serves the files of `collection`, and a CSV list of it at [`Site::list`].
    pub async fn serve(collection: &Collection, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("the port is bound");
        let with_file = |entry: &Entry| Some((entry.path.clone(), entry.file.clone()?));
        let mut files: BTreeMap<_, _> = collection.entries.iter().filter_map(with_file).collect();
        let mut list = "url,label\n".to_owned();
        for entry in &collection.entries {
            list += &format!("http://{address}/{},{}\n", entry.path, entry.label);
        }
        list.extend(
            collection
                .bad_lines
                .iter()
                .map(|(line, _)| format!("{line}\n")),
        );
        files.insert(LIST.to_owned(), list.into());
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
        format!("http://{}/{LIST}", self.address)
    }

    /// The address of the file with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
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
    if path.ends_with(".csv") {
        return ([(header::CONTENT_TYPE, "text/csv")], file.clone()).into_response();
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
