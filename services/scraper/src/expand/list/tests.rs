use std::{fs::File, io::Write, path::Path};

use flate2::{Compression as Level, write::GzEncoder};
use maskline_messages::{Label, Labeling, Location, MAX_URL};
use tempfile::NamedTempFile;

use super::{csv_format::MAX_RECORD, row::MAX_LINE, *};
use crate::expand::candidate::{STEP_BYTES, STEP_SIZE, SourceCandidate};

/// Everything in the list, step by step, with the steps' sizes.
async fn all(
    name: &str,
    text: &[u8],
    labeling: Option<Labeling>,
) -> Result<(Vec<SourceCandidate>, Vec<usize>), String> {
    let options = ListOptions {
        labeling,
        ..ListOptions::default()
    };
    all_with(name, text, options).await
}

async fn all_with(
    name: &str,
    text: &[u8],
    options: ListOptions,
) -> Result<(Vec<SourceCandidate>, Vec<usize>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    File::create(&path).unwrap().write_all(text).unwrap();
    let (mut found, mut sizes, mut cursor) = (vec![], vec![], None);
    let text = |error: ExpandError| error.to_string().replace(path.to_str().unwrap(), name);
    loop {
        // Each step is taken by a process that knows nothing of the last one.
        let opened = LocalList::from_file(&path, options.clone()).map_err(text)?;
        let step = step(Arc::new(opened), cursor.as_deref())
            .await
            .map_err(text)?;
        sizes.push(step.candidates.len());
        found.extend(step.candidates);
        cursor = step.next_cursor;
        if cursor.is_none() {
            return Ok((found, sizes));
        }
    }
}

fn shown(found: &[SourceCandidate]) -> Vec<String> {
    let one = |found: &SourceCandidate| match (&found.rejected, &found.location, &found.label) {
        (Some(reason), _, _) => reason.to_string(),
        (None, at, Some(label)) => format!("{at} {label}"),
        (None, at, None) => at.to_string(),
    };
    found.iter().map(one).collect()
}

#[tokio::test]
async fn a_text_list_skips_blanks_and_comments_and_names_broken_lines() {
    let text = b"\xef\xbb\xbf# faces\nhttp://a/1.jpg\r\n\n  https://b/2.jpg  \nnonsense\nhttp://\n\xff\xfe\nmailto:a@b.c";
    let (found, _) = all("list.txt", text, None).await.unwrap();
    let expected = [
        "http://a/1.jpg",
        "https://b/2.jpg",
        "line 5: not a URL (relative URL without a base): nonsense",
        "line 6: not a URL (empty host): http://",
        "line 7: not a URL (relative URL without a base): \u{fffd}\u{fffd}",
        "line 8: not a URL with a host: b.c",
    ];
    assert_eq!(shown(&found), expected);
    assert!(matches!(&found[2].location, Location::Line { line: 5, .. }));
}

#[tokio::test]
async fn a_csv_gives_urls_and_labels_by_the_names_of_its_columns() {
    let text = "id,Label,URL\n1,with_mask,http://a/1.jpg\n2,,\"http://a/2.jpg\"\n3,no good,http://a/3.jpg\n\n4\n";
    let (found, _) = all("list", text.as_bytes(), Some(Labeling::column()))
        .await
        .unwrap();
    let expected = [
        "http://a/1.jpg with_mask",
        "http://a/2.jpg",
        "line 4: \"no good\" is not a label (1 to 64 letters, digits, `_`, `-` or `.`): no good",
        "line 6: not a URL (relative URL without a base): ",
    ];
    assert_eq!(shown(&found), expected);
}

#[tokio::test]
async fn a_csv_with_line_ends_of_windows_names_the_same_lines() {
    let text = "url\r\nhttp://a/1.jpg\r\n\r\nnonsense\r\n";
    let (found, _) = all("list.csv", text.as_bytes(), None).await.unwrap();
    assert!(matches!(found[1].location, Location::Line { line: 4, .. }));
}

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
async fn a_list_without_urls_is_an_error_that_says_what_to_do() {
    let column = || Some(Labeling::column());
    let cases = [
        ("list.txt", "# nothing\n\n", None, "no URLs in the list"),
        ("list.csv", "url,label\n", None, "no URLs in the list"),
        (
            "list.csv",
            "address\nhttp://a/",
            None,
            "list.csv:1: the CSV has no column `url`",
        ),
        (
            "list.csv",
            "url\nhttp://a/",
            column(),
            "list.csv:1: the CSV has no column `label`",
        ),
    ];
    for (name, text, labeling, expected) in cases {
        let error = all(name, text.as_bytes(), labeling).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = LocalList::from_file(Path::new("/no/such/list"), ListOptions::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("/no/such/list can't be read"));
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
async fn an_endless_line_is_one_broken_line() {
    let text = format!(
        "http://a/{}\nhttp://b/\n",
        "x".repeat(3 * MAX_LINE as usize)
    );
    let (found, _) = all("list.txt", text.as_bytes(), None).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(shown(&found)[0].starts_with("line 1: longer than a URL may be"));
    assert_eq!(shown(&found)[1], "http://b/");
}

#[tokio::test]
async fn a_quote_that_is_never_closed_does_not_fill_the_memory() {
    let rest = "http://a/1.jpg\n".repeat(MAX_RECORD as usize / 5);
    let before = "url\nhttp://a/0.jpg\n".repeat(2);
    let text = format!("{before}\"{rest}");
    let error = all("list.csv", text.as_bytes(), None).await.unwrap_err();
    assert!(error.contains("is a quote not closed?"), "{error}");
}

#[tokio::test]
async fn a_line_that_is_not_a_url_is_shown_without_its_secrets() {
    let lines = [
        ("http://me:hunter2@/a.jpg?sig=hunter2", "http:///a.jpg"),
        ("http://me:hunter2@h:port/", "http://h:port/"),
        ("http://me:hunter2/@h/a.jpg", "http://h/a.jpg"),
        ("http://h:port/#hunter2", "http://h:port/"),
        ("me:hunter2@example.org/a.jpg", "example.org/a.jpg"),
        ("me:hunter2?@h/a.jpg", "…"),
        ("me:@hunter2#@h/a.jpg", "…"),
        ("x?hunter2", "x"),
    ];
    let text = lines.map(|(line, _)| line).join("\n");
    let (found, _) = all("list.txt", text.as_bytes(), None).await.unwrap();
    assert_eq!(found.len(), lines.len());
    for (text, (_, expected)) in shown(&found).iter().zip(lines) {
        assert!(text.contains("not a URL"), "{text}");
        assert!(text.ends_with(&format!(": {expected}")), "{text}");
    }
}

#[tokio::test]
async fn the_length_that_counts_is_that_of_the_normalized_url() {
    let begin = "http://a/";
    let longest = format!("{begin}{}", "x".repeat(MAX_URL - begin.len()));
    let lines = [
        longest.clone(),
        longest.replacen(begin, "http://a:80/", 1),
        format!("{longest}x"),
        format!("{begin}{}", "ä".repeat(MAX_URL / 4)),
    ];
    let text = lines.join("\r\n");
    let csv = format!("url\r\n{text}\r\n");
    for (name, text) in [("list.txt", text), ("list.csv", csv)] {
        let (found, _) = all(name, text.as_bytes(), None).await.unwrap();
        let found = shown(&found);
        assert_eq!(found.len(), lines.len(), "{name}");
        assert!(found[..2].iter().all(|url| *url == longest), "{name}");
        for line in &found[2..] {
            assert!(line.contains("longer than a URL may be"), "{name}: {line}");
        }
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Level::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn label(name: &str) -> Label {
    name.parse().unwrap()
}

#[tokio::test]
async fn json_lines_give_urls_labels_and_provenance() {
    let text = concat!(
        r#"{"image_url": "http://a/1.jpg", "class": 1, "caption": "a face", "width": 640}"#,
        "\n\n",
        r#"{"image_url": "http://a/2.jpg", "class": 0.0, "similarity": 0.5, "none": null}"#,
        "\r\n",
        r#"{"other": "http://a/3.jpg"}"#,
        "\nnot json\n",
        r#"{"image_url": "nonsense", "class": "with mask"}"#,
    );
    let labeling = Labeling::Column {
        name: None,
        map: [
            ("1".to_owned(), label("with_mask")),
            ("0".to_owned(), label("without_mask")),
        ]
        .into(),
    };
    let (found, _) = all("faces.jsonl", text.as_bytes(), Some(labeling))
        .await
        .unwrap();
    let expected = [
        "http://a/1.jpg with_mask",
        "http://a/2.jpg without_mask",
        "line 4: no field `url`: ",
        "line 5: not a JSON object (expected ident at line 1 column 2): ",
        "line 6: not a URL (relative URL without a base): nonsense",
    ];
    assert_eq!(shown(&found), expected);
    assert_eq!(found[0].provenance.title.as_deref(), Some("a face"));
    assert_eq!(found[0].provenance.other["width"], "640");
    assert_eq!(found[1].provenance.other["similarity"], "0.5");
}

#[tokio::test]
async fn columns_may_be_separated_otherwise_and_have_other_names() {
    let texts = [
        (
            "faces.tsv",
            "URL\tTEXT\tlabel\nhttp://a/1.jpg\ta face, masked\twith_mask\n",
        ),
        (
            "faces.csv",
            "id;image_url;class;title\n7;http://a/1.jpg;with_mask;\"a face, masked\"\n",
        ),
        (
            "faces.txt",
            "url|label|caption\nhttp://a/1.jpg|with_mask|a face, masked\n",
        ),
    ];
    for (name, text) in texts {
        let (found, _) = all(name, text.as_bytes(), Some(Labeling::column()))
            .await
            .unwrap();
        assert_eq!(shown(&found), ["http://a/1.jpg with_mask"], "{name}");
        let title = found[0].provenance.title.as_deref();
        assert_eq!(title, Some("a face, masked"), "{name}");
    }
    let options = ListOptions {
        column: Some("thumb".to_owned()),
        ..ListOptions::default()
    };
    let text = b"url,thumb\nhttp://a/1.jpg,http://a/small.jpg\n";
    let (found, _) = all_with("faces.csv", text, options.clone()).await.unwrap();
    assert_eq!(shown(&found), ["http://a/small.jpg"]);
    assert_eq!(found[0].provenance.other["url"], "http://a/1.jpg");
    let error = all_with("faces.csv", b"url,label\n", options)
        .await
        .unwrap_err();
    assert!(
        error.contains("no column `thumb` (its columns: url, label)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_list_without_columns_is_told_from_a_table() {
    let (found, _) = all("list.txt", b"http://a/x,url,1.jpg\nhttp://a/2.jpg\n", None)
        .await
        .unwrap();
    assert_eq!(shown(&found), ["http://a/x,url,1.jpg", "http://a/2.jpg"]);
    let column = || Some(Labeling::column());
    let cases = [
        (
            "http://a/1.jpg\n",
            column(),
            "has no columns, and so none of labels",
        ),
        (
            "http://a/1.jpg;with_mask\n",
            None,
            "seems to be a URL and a label",
        ),
        ("[\n{\"url\": \"http://a/1.jpg\"}]", None, "no columns"),
        ("\0\0", None, "is no text"),
    ];
    for (text, labeling, expected) in cases {
        let result = all("list.txt", text.as_bytes(), labeling).await;
        match result {
            Err(error) => assert!(error.contains(expected), "{error}"),
            Ok((found, _)) => assert!(found.iter().all(|found| found.rejected.is_some())),
        }
    }
    let (found, _) = all(
        "list.txt",
        b"http://a/1.jpg\twith_mask\nhttp://a/2.jpg",
        None,
    )
    .await
    .unwrap();
    assert!(shown(&found)[0].starts_with("line 1: a tab or a line break within the URL"));
    assert_eq!(shown(&found)[1], "http://a/2.jpg");
}

#[tokio::test]
async fn lists_are_read_in_the_encoding_that_they_have() {
    let url = "http://a/café.jpg";
    let bom = |bytes: Vec<u8>, bom: &[u8]| [bom, &bytes].concat();
    let utf16 = |to: fn(u16) -> [u8; 2]| url.encode_utf16().flat_map(to).collect::<Vec<u8>>();
    let texts = [
        url.as_bytes().to_vec(),
        encoding_rs::WINDOWS_1252.encode(url).0.into_owned(),
        bom(utf16(u16::to_le_bytes), b"\xff\xfe"),
        bom(utf16(u16::to_be_bytes), b"\xfe\xff"),
    ];
    for text in texts {
        let (found, _) = all("list.txt", &text, None).await.unwrap();
        assert_eq!(shown(&found), ["http://a/caf%C3%A9.jpg"]);
    }
    // What begins as UTF-8 is UTF-8, and a line that is not is reported.
    let mut text = "\u{feff}http://a/é.jpg\nhttp://a/".as_bytes().to_vec();
    text.push(0xe9);
    let (found, _) = all("list.txt", &text, None).await.unwrap();
    assert_eq!(shown(&found)[0], "http://a/%C3%A9.jpg");
    assert!(
        shown(&found)[1].starts_with("line 2: not UTF-8"),
        "{found:?}"
    );
}

#[tokio::test]
async fn lines_may_end_as_on_the_first_macintosh() {
    let (found, _) = all(
        "list.txt",
        b"http://a/1.jpg\r\rhttp://a/2.jpg\rnonsense\r",
        None,
    )
    .await
    .unwrap();
    assert_eq!(shown(&found)[..2], ["http://a/1.jpg", "http://a/2.jpg"]);
    assert!(shown(&found)[2].starts_with("line 4: "));
    let (found, _) = all(
        "list.csv",
        b"url,label\rhttp://a/1.jpg,a\rnonsense,b\r",
        None,
    )
    .await
    .unwrap();
    assert_eq!(shown(&found)[0], "http://a/1.jpg");
    assert!(shown(&found)[1].starts_with("line 3: "));
}

#[tokio::test]
async fn a_quote_that_is_not_closed_is_an_error_that_names_the_line() {
    let rows = |from: usize, to: usize| -> String {
        (from..to)
            .map(|n| format!("http://a/{n}.jpg,ok\n"))
            .collect()
    };
    let open = "http://a/x.jpg,\"not closed\n";
    let quoted = "http://a/y.jpg,\"closed\"\n";
    let cases = [
        format!("url,note\n{}{open}{}", rows(0, 3), rows(3, 59)),
        format!(
            "url,note\n{}{open}{}{quoted}{}",
            rows(0, 3),
            rows(3, 9),
            rows(9, 20)
        ),
        format!("url,note\n{}{open}", rows(0, 3)),
    ];
    for text in cases {
        let error = all("list.csv", text.as_bytes(), None).await.unwrap_err();
        assert!(
            error.contains("list.csv:5: a quote is not closed"),
            "{error}"
        );
    }
    let good = format!(
        "url,note\n{}http://a/z.jpg,\"two\nlines, \"\"both\"\"\"\n",
        rows(0, 3)
    );
    let (found, _) = all("list.csv", good.as_bytes(), None).await.unwrap();
    assert_eq!(found.len(), 4);
    assert_eq!(found[3].provenance.other["note"], "two lines, \"both\"");
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

/// A Parquet file of URLs in row groups of 100 rows, with classes where `label` names them.
fn parquet_of(urls: &[String], classes: Option<&[&str]>) -> Vec<u8> {
    use arrow::{
        array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray},
        datatypes::{DataType, Field, Int32Type, Schema},
    };
    use parquet::{
        arrow::ArrowWriter,
        basic::{Compression, ZstdLevel},
        file::{metadata::KeyValue, properties::WriterProperties},
    };

    let schema = Arc::new(Schema::new(vec![
        Field::new("TEXT", DataType::Utf8, true),
        Field::new("URL", DataType::Utf8, true),
        Field::new("label", DataType::Int64, true),
        Field::new_list("tokens", Field::new_list_field(DataType::Int32, true), true),
    ]));
    let features = classes.map(|names| {
        let label = serde_json::json!({ "names": names, "_type": "ClassLabel" });
        let info = serde_json::json!({ "info": { "features": { "label": label } } });
        vec![KeyValue::new("huggingface".to_owned(), info.to_string())]
    });
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(100))
        .set_key_value_metadata(features)
        .build();
    let mut writer = ArrowWriter::try_new(vec![], schema.clone(), Some(properties)).unwrap();
    let rows = urls.len();
    let texts = (0..rows).map(|n| (n % 2 == 0).then(|| format!("face {n}")));
    let tokens = (0..rows).map(|n| Some(vec![Some(n as i32)]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(texts)),
        Arc::new(StringArray::from_iter_values(urls)),
        Arc::new(Int64Array::from_iter_values(
            (0..rows).map(|n| n as i64 % 2),
        )),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(tokens)),
    ];
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn a_parquet_list_is_read_from_any_row_on() {
    let urls: Vec<_> = (0..2 * STEP_SIZE + 250)
        .map(|n| format!("http://a/{n}"))
        .collect();
    let parquet = parquet_of(&urls, Some(&["without_mask", "with_mask"]));
    let (found, sizes) = all("faces.parquet", &parquet, Some(Labeling::column()))
        .await
        .unwrap();
    assert_eq!(sizes, [STEP_SIZE, STEP_SIZE, 250]);
    let labels = ["without_mask", "with_mask"];
    let expected: Vec<_> = (0..urls.len())
        .map(|n| format!("http://a/{n} {}", labels[n % 2]))
        .collect();
    assert_eq!(shown(&found), expected);
    assert_eq!(found[2].provenance.title.as_deref(), Some("face 2"));
    assert_eq!(found[3].provenance.title, None);
    assert!(
        found[2].provenance.other.is_empty(),
        "lists of numbers are not kept"
    );

    // One process that takes all steps goes on where it is, and finds the same.
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &parquet).unwrap();
    let list = Arc::new(LocalList::from_file(file.path(), ListOptions::default()).unwrap());
    let first = step(list.clone(), None).await.unwrap();
    let second = step(list.clone(), first.next_cursor.as_deref())
        .await
        .unwrap();
    let again = step(list, first.next_cursor.as_deref()).await.unwrap();
    assert_eq!(second.candidates, again.candidates);
    assert_eq!(shown(&second.candidates), urls[STEP_SIZE..2 * STEP_SIZE]);
}

#[tokio::test]
async fn a_parquet_that_is_no_list_says_what_it_has() {
    let parquet = parquet_of(&["http://a/1".to_owned()], None);
    let labelled = Labeling::Column {
        name: Some("class".to_owned()),
        map: Default::default(),
    };
    let options = |column: Option<&str>, labeling| ListOptions {
        column: column.map(str::to_owned),
        labeling,
        folder: None,
    };
    let columns = "(its columns: TEXT, URL, label, tokens)";
    let cases = [
        (options(Some("link"), None), "has no column `link`"),
        (options(Some("tokens"), None), "has no column `tokens`"),
        (options(None, Some(labelled)), "has no column `class`"),
    ];
    for (options, expected) in cases {
        let error = all_with("a.parquet", &parquet, options).await.unwrap_err();
        assert!(
            error.contains(expected) && error.contains(columns),
            "{error}"
        );
    }
    for damaged in [&parquet[..parquet.len() / 2], b"PAR1"] {
        let error = all("a.parquet", damaged, None).await.unwrap_err();
        assert!(
            error.contains("no Parquet file that can be read"),
            "{error}"
        );
    }
    let error = all("a.parquet", b"url\n", None).await.unwrap_err();
    assert!(error.contains("does not begin with PAR1"), "{error}");
}
