//! Lists with columns: CSV in all its forms, and JSON Lines.

use std::path::Path;

use maskline_messages::Label;

use super::*;
use crate::expand::list::csv_format::MAX_RECORD;

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
        "line 6: not a URL (relative URL without a base)",
    ];
    assert_eq!(shown(&found), expected);
}

#[tokio::test]
async fn a_csv_with_line_ends_of_windows_names_the_same_lines() {
    let text = "url\r\nhttp://a/1.jpg\r\n\r\nnonsense\r\n";
    let (found, _) = all("list.csv", text.as_bytes(), None).await.unwrap();
    assert!(matches!(found[1].location, Location::Line { line: 4, .. }));
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
        "line 4: no field `url`",
        "line 5: not a JSON object (expected ident)",
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
            "seems to be followed by a label",
        ),
        (
            "picture;kind\nhttp://a/1.jpg;with_mask\n",
            None,
            "seems to be followed by a label",
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
    assert!(
        shown(&found)[0]
            .starts_with("line 1: a tab, a line break or another control character within the URL")
    );
    assert_eq!(shown(&found)[1], "http://a/2.jpg");
}

#[tokio::test]
async fn a_list_without_urls_is_an_error_that_says_what_to_do() {
    let column = || Some(Labeling::column());
    let cases = [
        ("list.txt", "# nothing\n\n", None, "no URLs in the list"),
        ("list.csv", "url,label\n", None, "no URLs in the list"),
        ("list.csv", "", None, "list.csv:1: the CSV is empty"),
        (
            "list.txt",
            "<!doctype html>\n<p>",
            None,
            "`maskline enqueue page`",
        ),
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
async fn a_quote_that_is_never_closed_does_not_fill_the_memory() {
    let rest = "http://a/1.jpg\n".repeat(MAX_RECORD as usize / 5);
    let before = "url\nhttp://a/0.jpg\n".repeat(2);
    let text = format!("{before}\"{rest}");
    let error = all("list.csv", text.as_bytes(), None).await.unwrap_err();
    assert!(error.contains("is a quote not closed?"), "{error}");
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
    // A later row has a quote at its end, which closes the one that was not.
    let closed_later = format!(
        "url,note\n{}{open}{}http://a/y.jpg,closed\"\n{}",
        rows(0, 3),
        rows(3, 9),
        rows(9, 20)
    );
    let error = all("list.csv", closed_later.as_bytes(), None)
        .await
        .unwrap_err();
    assert!(
        error.contains("list.csv:5: a quote is not closed"),
        "{error}"
    );
    let good = format!(
        "url,note\n{}http://a/z.jpg,\"two\nlines, \"\"both\"\"\"\n",
        rows(0, 3)
    );
    let (found, _) = all("list.csv", good.as_bytes(), None).await.unwrap();
    assert_eq!(found.len(), 4);
    assert_eq!(found[3].provenance.other["note"], "two lines, \"both\"");
}

#[tokio::test]
async fn many_blank_lines_are_no_record() {
    let blank = "\r\n".repeat(MAX_RECORD as usize);
    let text = format!("url\nhttp://a/1.jpg\n{blank}nonsense\n{blank}");
    let (found, _) = all("list.csv", text.as_bytes(), None).await.unwrap();
    assert_eq!(shown(&found)[0], "http://a/1.jpg");
    let line = 3 + MAX_RECORD;
    assert!(
        shown(&found)[1].starts_with(&format!("line {line}: not a URL")),
        "{:?}",
        shown(&found)
    );
    assert_eq!(found.len(), 2);
}
