//! Tests of what all kinds of sources have in common.

use std::time::Duration;

use maskline_messages::{JobId, Location};
use maskline_storage::objects;
use maskline_test_support::environment::Environment;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{expand::source_file::SourceFile, fetch::FetchLimits, turns::Turns};

/// A server that answers so to its first request of each connection, and nothing more after that.
async fn silent_server(answer: &'static str) -> url::Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = vec![];
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            open.push(stream);
        }
    });
    address.parse().unwrap()
}

#[tokio::test]
async fn a_source_on_a_silent_host_leaves_its_turn_to_others() {
    let environment = Environment::embedded();
    let fetcher = Fetcher::for_tests(&environment, FetchLimits::for_tests()).await;
    let folder = tempfile::tempdir().unwrap();
    let address = format!("file:{}", folder.path().display());
    let objects = objects::open(&address).await.unwrap();
    let promise = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n<p>";
    for answer in ["", promise] {
        let turns = Turns::default();
        let location = Location::Url(silent_server(answer).await);
        let list = turns.take(SourceFile::open(&fetcher, &location, "list", 1 << 20));
        let request = CrawlRequest {
            job: JobId::draw(),
            options: CrawlOptions {
                url: silent_server(answer).await,
                depth: 0,
                same_site: true,
            },
            labeling: None,
            cursor: None,
            found: 0,
            attempts: 0,
        };
        let page = turns.take(page::step(&fetcher, &objects, request, None));
        let another = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            turns.take(async {}).await;
        };
        tokio::select! {
            list = list => panic!("the list has no end: {:?}", list.err()),
            page = page => panic!("the page has no end: {:?}", page.err()),
            () = another => {}
        }
    }
}
