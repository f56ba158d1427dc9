//! A web site on loopback with any number of pictures, each drawn when it is asked for.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures::stream;
use tokio::{net::TcpListener, task::AbortHandle};

use crate::{
    collection::class,
    pictures::{face, jpeg},
};

/// The side of the pictures, in pixels.
const SIDE: u32 = 64;

/// How many lines of a list are written at a time.
const LINES: u64 = 1_000;

/// The pictures at the addresses of a list.
#[derive(Debug, Clone, Copy)]
pub enum Pictures {
    /// A different face at each address.
    Drawn,
    /// Nothing. Each address answers 404 at once.
    Missing,
}

/// A web site that serves until it is dropped.
pub struct GeneratedSite {
    address: SocketAddr,
    serving: AbortHandle,
}

impl GeneratedSite {
    pub async fn serve(pictures: Pictures) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("the port is bound");
        let list = move |Path((first, end))| async move { list(address, first..end) };
        let router = Router::new().route("/lists/{first}/{end}", get(list));
        let router = match pictures {
            Pictures::Drawn => router.route("/{class}/{number}", get(picture)),
            Pictures::Missing => router,
        };
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            serving: serving.abort_handle(),
        }
    }

    /// The address of a CSV list of the pictures with these numbers, half of them of each class.
    pub fn list(&self, numbers: Range<u64>) -> String {
        let Range { start, end } = numbers;
        format!("http://{}/lists/{start}/{end}", self.address)
    }
}

impl Drop for GeneratedSite {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn list(address: SocketAddr, numbers: Range<u64>) -> Response {
    let header = std::iter::once("url,label\n".to_owned());
    let end = numbers.end;
    let lines = numbers.step_by(LINES as usize).map(move |first| {
        let numbers = first..end.min(first + LINES);
        let line = |number: u64| {
            let class = class(number.is_multiple_of(2));
            format!("http://{address}/{class}/{number},{class}\n")
        };
        numbers.map(line).collect::<String>()
    });
    let pieces = header.chain(lines).map(Ok::<_, std::convert::Infallible>);
    let body = Body::from_stream(stream::iter(pieces));
    ([(header::CONTENT_TYPE, "text/csv")], body).into_response()
}

async fn picture(Path((folder, number)): Path<(String, u64)>) -> Response {
    let masked = number.is_multiple_of(2);
    if folder != class(masked) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let drawn: Bytes = jpeg(&face(number, masked, SIDE));
    ([(header::CONTENT_TYPE, "image/jpeg")], drawn).into_response()
}
