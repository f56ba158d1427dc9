//! Which answers are an image, which are a reason, and which are worth another attempt.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An answer with this head, which says nothing of the body's length, and this body.
fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\n").as_bytes(), b"\r\n", body].concat()
}

/// What becomes of an image whose server sends these bytes and closes the connection.
async fn fetched(answer: Vec<u8>) -> Result<FetchedImage, FetchError> {
    let environment = Environment::embedded();
    let server = Server::start([127, 0, 8, 1], Sends::Whole(answer.leak())).await;
    let fetcher = Fetcher::for_tests(&environment, limits(4, 100)).await;
    fetcher.image(JobId::draw(), &server.image(1), None).await
}

#[tokio::test]
async fn an_answer_that_would_be_the_same_again_is_a_reason() {
    let location = format!("302 Found\r\nLocation: /{}", "x".repeat(100_000));
    let headers = format!("200 OK\r\nX-Long: {}", "x".repeat(1 << 20));
    let cases = [
        (
            answer("200 OK\r\nthis is no header", b"picture"),
            "not HTTP",
        ),
        (answer("200 OK\r\n: no name", b"picture"), "not HTTP"),
        (answer(&headers, b"picture"), "not HTTP"),
        (b"<html>no HTTP at all</html>\r\n\r\n".to_vec(), "not HTTP"),
        (
            answer("200 OK\r\nContent-Encoding: lzma", b"picture"),
            "\"lzma\"",
        ),
        (
            answer("200 OK\r\nContent-Encoding: gzip", &gzip(&[7; 999])[..20]),
            "the compressed answer is broken",
        ),
        (
            answer("200 OK\r\nContent-Encoding: br", b"picture"),
            "the compressed answer is broken",
        ),
        (answer(&location, b""), "an address of 1000"),
        (answer("302 Found\r\nLocation: //[", b""), "can't be asked"),
        (
            answer("302 Found\r\nLocation: ftp://h/", b""),
            "can't be asked",
        ),
        (answer("404 Not Found", b""), "answered 404"),
    ];
    for (sent, expected) in cases {
        let begin = String::from_utf8_lossy(&sent[..sent.len().min(60)]).into_owned();
        match fetched(sent).await {
            Err(FetchError::Rejected(reason)) => {
                let said = reason.to_string();
                assert!(said.contains(expected), "{begin:?}: {said}");
            }
            Err(error) => panic!("{begin:?}: {error}"),
            Ok(_) => panic!("{begin:?} is no image"),
        }
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_or_garbled_on_its_way_is_tried_again() {
    let cut = &gzip(b"picture")[..10];
    let cases = [
        answer("200 OK\r\nContent-Length: 100", b"picture"),
        answer(
            "200 OK\r\nContent-Length: 100\r\nContent-Encoding: gzip",
            cut,
        ),
        answer("200 OK\r\nTransfer-Encoding: chunked", b"7\r\npicture\r\n"),
        answer(
            "200 OK\r\nTransfer-Encoding: chunked",
            b"zz\r\npicture\r\n0\r\n\r\n",
        ),
        answer(
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip",
            b"not a length\r\n",
        ),
        b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(),
        b"".to_vec(),
    ];
    for sent in cases {
        let begin = String::from_utf8_lossy(&sent).into_owned();
        match fetched(sent).await {
            Err(FetchError::Retry { .. }) => {}
            Err(error) => panic!("{begin:?}: {error}"),
            Ok(_) => panic!("{begin:?} is no image"),
        }
    }
}

#[tokio::test]
async fn an_encoding_that_was_not_asked_for_is_decoded() {
    let zstd = zstd::encode_all(b"picture".as_slice(), 1).unwrap();
    for (name, body) in [("X-GZIP", gzip(b"picture")), ("zstd", zstd)] {
        let sent = answer(&format!("200 OK\r\nContent-Encoding: {name}"), &body);
        match fetched(sent).await {
            Ok(FetchedImage::Bytes { body, .. }) => assert_eq!(&body.bytes[..], b"picture"),
            Ok(FetchedImage::Unchanged) => panic!("{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_file_that_can_never_be_read_is_a_reason() {
    let environment = Environment::embedded();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("round", path("about")).unwrap();
    std::os::unix::fs::symlink("about", path("round")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("zeros")).unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    let fetcher = Fetcher::for_tests(&environment, limits(4, 100)).await;
    for name in ["round", "zeros", "folder", "folder/nothing"] {
        let location = Location::Path(path(name));
        let fetched = fetcher.image(JobId::draw(), &location, None).await;
        assert!(
            matches!(
                fetched,
                Err(FetchError::Rejected(Reason::Unreadable { .. }))
            ),
            "{name}"
        );
    }
}
