//! Lists of every format are read step by step, compressed or not.

use tempfile::NamedTempFile;

use super::{parquet_lists::parquet_of, *};
use crate::expand::candidate::{STEP_BYTES, STEP_SIZE};

#[tokio::test]
async fn all_steps_together_find_each_line_once() {
    let urls: Vec<String> = (0..2 * STEP_SIZE + 3)
        .map(|n| format!("http://a/{n}.jpg"))
        .collect();
    let text = urls.join("\n");
    let csv = format!("url\n{}\n", urls.join("\n"));
    for (name, text) in [("list.txt", text), ("list.csv", csv)] {
        let (found, sizes) = all(name, text.as_bytes(), None).await.unwrap();
        assert_eq!(shown(&found), urls, "{name}");
        assert_eq!(sizes, [STEP_SIZE, STEP_SIZE, 3], "{name}");
    }
}

#[tokio::test]
async fn a_list_that_changes_between_steps_is_not_mixed_up() {
    let file = NamedTempFile::new().unwrap();
    let write = |from: usize| {
        let urls: Vec<String> = (from..from + 2 * STEP_SIZE)
            .map(|n| format!("http://a/{n}"))
            .collect();
        std::fs::write(file.path(), urls.join("\n")).unwrap();
    };
    write(0);
    let open = || Arc::new(LocalList::from_file(file.path(), ListOptions::default()).unwrap());
    let opened = open();
    let next = step(opened.clone(), None).await.unwrap().next_cursor;
    write(100_000);
    assert!(opened.has_changed());
    let error = step(open(), next.as_deref()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("was changed while it was read, at line 1001")
    );
}

#[tokio::test]
async fn every_format_may_be_compressed() {
    let urls: Vec<_> = (0..STEP_SIZE + 7)
        .map(|n| format!("http://a/{n}"))
        .collect();
    let text = urls.join("\n");
    let csv = format!("url\n{text}\n");
    let json: String = urls
        .iter()
        .map(|url| format!("{{\"url\": \"{url}\"}}\n"))
        .collect();
    let parquet = parquet_of(&urls, None);
    let lists = [
        ("list.txt", text.into_bytes()),
        ("list.csv", csv.into_bytes()),
        ("list.jsonl", json.into_bytes()),
        ("list.parquet", parquet),
    ];
    for (name, list) in lists {
        let (found, sizes) = all(name, &list, None).await.unwrap();
        assert_eq!(shown(&found), urls, "{name}");
        assert_eq!(sizes, [STEP_SIZE, 7], "{name}");
        for packed in [gzip(&list), zstd::encode_all(&*list, 1).unwrap()] {
            let (found, sizes) = all(&format!("{name}.gz"), &packed, None).await.unwrap();
            assert_eq!(shown(&found), urls, "{name}");
            assert_eq!(sizes, [STEP_SIZE, 7], "{name}");
        }
    }
    let damaged = &gzip(&vec![b'x'; 1 << 20])[..500];
    let error = all("list.txt.gz", damaged, None).await.unwrap_err();
    assert!(error.contains("it may be damaged"), "{error}");
    for (name, magic) in [("bzip2", b"BZh91AY".as_slice()), ("xz", b"\xfd7zXZ\0\0")] {
        let error = all("list.txt", magic, None).await.unwrap_err();
        let expected = format!("is compressed by {name}, which is not read");
        assert!(error.contains(&expected), "{error}");
    }
    let error = all("list.zip", b"PK\x03\x04", None).await.unwrap_err();
    assert!(error.contains("maskline enqueue archive"), "{error}");
}

#[tokio::test]
async fn blank_lines_end_a_step_only_by_their_bytes() {
    let blank = STEP_BYTES as usize + 10;
    let text = ["http://a/1.jpg\n", &"\n".repeat(blank), "http://a/2.jpg"].concat();
    let (found, sizes) = all("list.txt", &gzip(text.as_bytes()), None).await.unwrap();
    assert_eq!(sizes, [1, 1]);
    assert!(matches!(&found[1].location, Location::Url(url) if url.path() == "/2.jpg"));
}

#[tokio::test]
async fn a_list_without_urls_is_an_error_however_long_it_is() {
    let blank = format!("{:999}\n", "").repeat(STEP_BYTES as usize / 999);
    let comments = "# nothing\r".repeat(STEP_BYTES as usize / 9);
    let csv = format!("url\r\n{}", "\r\n".repeat(STEP_BYTES as usize / 2 + 10));
    for text in [blank, comments, csv] {
        let error = all("list.txt", &gzip(text.as_bytes()), None)
            .await
            .unwrap_err();
        assert!(error.contains("no URLs in the list"), "{error}");
    }
}

#[tokio::test]
async fn steps_may_end_between_lines_that_end_in_any_way() {
    let mut rows = String::from("# faces\r\nurl,note\r");
    let mut urls = vec![];
    for n in 0..3 * STEP_SIZE {
        let end = ["\r", "\n", "\r\n"][n % 3];
        urls.push(format!("http://a/{n}.jpg"));
        rows += &format!("http://a/{n}.jpg,\"two\rlines\"{end}");
    }
    rows += "nonsense";
    let text = rows.replace(",\"two\rlines\"", "").replace("url,note", "");
    let ends = |text: &str| text.replace("\r\n", "\n").matches(['\r', '\n']).count();
    for list in [&rows, &text] {
        let (found, sizes) = all("list.txt", list.as_bytes(), None).await.unwrap();
        assert_eq!(sizes, [STEP_SIZE, STEP_SIZE, STEP_SIZE, 1]);
        assert_eq!(shown(&found)[..urls.len()], urls);
        let last = &shown(&found)[urls.len()];
        let expected = format!("line {}: not a URL", ends(list) + 1);
        assert!(last.starts_with(&expected), "{last}");
    }
}
