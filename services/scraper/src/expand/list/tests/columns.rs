//! Lists with columns: CSV in all its forms, and JSON Lines.

use std::path::Path;

use maskline_messages::Label;

use super::*;
use crate::expand::list::record::MAX_RECORD;

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
            "list.txt:2: the URL seems to be followed by a label",
        ),
        (
            "url\nhttp://a/1;with_mask\nhttp://a/2;without_mask\n",
            None,
            "list.txt:2: the URL seems to be followed by a label",
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
    for rest in ["no address\n", "\n", "\r"] {
        let rest = rest.repeat(2 * MAX_RECORD);
        let text = format!("url,note\nhttp://a/0.jpg,\nhttp://a/1.jpg,\"{rest}");
        let error = all("list.csv", text.as_bytes(), None).await.unwrap_err();
        let expected = "list.csv:3: a record has more than 1048576 bytes: is a quote not closed?";
        assert!(error.contains(expected), "{error}");
    }
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
async fn no_row_is_lost_to_a_quote_that_is_not_closed() {
    // Each list, and the line in which the quote is opened.
    let cases = [
        // In the line of the columns.
        ("url,kind,\"note\nhttp://a/1.jpg,b,x\n", 1),
        (
            "url,kind,\"note\nhttp://a/1.jpg,b,x\nhttp://a/2.jpg,b,\"y\"\n",
            1,
        ),
        (
            "url,kind,\"note\nhttp://a/1.jpg,b,x\"\nhttp://a/2.jpg,b,\n",
            1,
        ),
        ("# faces\n\nurl,\"kind\nhttp://a/1.jpg,b\n", 3),
        // Around rows with fewer or more fields than there are columns.
        (
            "url,kind,note\nhttp://a/1.jpg,b,\"x\nhttp://a/2.jpg,b\nhttp://a/3.jpg,b\"\n",
            2,
        ),
        ("url,note\nhttp://a/1.jpg,\"x\nhttp://a/2.jpg,y,z\"\n", 2),
        // Around URLs in capital letters, and behind white space.
        ("url,note\nhttp://a/1.jpg,\"x\nHTTP://a/2.jpg,y\"\n", 2),
        ("url,note\nhttp://a/1.jpg,\"x\n Https://a/2.jpg,y\"\n", 2),
        ("url,note\nhttp://a/1.jpg,\"x\r\thttp://a/2.jpg,y\"\r", 2),
        // Before the column of URLs, in it, and around one that is quoted.
        ("note,url\n\"x,http://a/1.jpg\ny\",http://a/2.jpg\n", 2),
        ("url,note\n\"http://a/1.jpg,x\nhttp://a/2.jpg,y\"\n", 2),
        (
            "url\nhttp://a/1.jpg\n\"http://a/2.jpg\nhttp://a/3.jpg\"\n",
            3,
        ),
        (
            "kind,url,note\nb,http://a/1.jpg,\"x\nb,\"http://a/2.jpg\",y\n",
            2,
        ),
        // Behind another text of several lines.
        (
            "url,a,b\nhttp://a/1.jpg,\"x\ny\",\"z\nhttp://a/2.jpg,x,y\n",
            3,
        ),
        // Around a single row, where the first has no URL.
        ("url,note\nnonsense,\"x\nhttp://a/2.jpg,y\"\n", 2),
    ];
    for (text, line) in cases {
        let error = all("list.csv", text.as_bytes(), None).await.unwrap_err();
        let expected = format!("list.csv:{line}: a quote is not closed");
        assert!(error.contains(&expected), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_text_in_quotes_may_have_several_lines() {
    let lists = [
        "url,note\nhttp://a/1.jpg,\"a face,\n\nsee http://b/, or\r\"\"ask\"\"\"\n",
        "note,url\n\"a face,\n\nsee http://b/, or\r\"\"ask\"\"\",http://a/1.jpg\n",
        "url,note\nhttp://a/1.jpg,\"a face:\nhttp://b/1\nhttp://b/2 and more, too\"\n",
        "\"note\nof a person\",url\r\"\r\r\",http://a/1.jpg\r",
    ];
    for text in lists {
        let text = format!("{text}nonsense,nonsense\n");
        let (found, _) = all("list.csv", text.as_bytes(), None).await.unwrap();
        assert_eq!(shown(&found)[0], "http://a/1.jpg", "{text}");
        let line = text.replace('\r', "\n").lines().count();
        let expected = format!("line {line}: not a URL");
        assert!(shown(&found)[1].starts_with(&expected), "{found:?}");
    }
}

#[tokio::test]
async fn a_row_with_more_fields_than_columns_is_rejected() {
    let text = "url,\nhttp://a/1.jpg?x,y,z\n\"http://a/2.jpg?x,y\"\nhttp://a/3.jpg, , ,\n";
    let (found, _) = all("list.csv", text.as_bytes(), None).await.unwrap();
    let rejected = "line 2: more fields (3) than columns (2): put a text with ',' in it in quotes: \
                    http://a/1.jpg";
    let expected = [rejected, "http://a/2.jpg?x,y", "http://a/3.jpg"];
    assert_eq!(shown(&found), expected);
    let text = "url,label\nhttp://a/1.jpg?x,y,with_mask\n";
    let column = Some(Labeling::column());
    let (found, _) = all("list.csv", text.as_bytes(), column).await.unwrap();
    assert!(shown(&found)[0].starts_with("line 2: more fields (3) than columns (2)"));
}

#[tokio::test]
async fn a_row_of_a_single_column_is_one_text() {
    let text = "url\nhttp://a/1.jpg?x,y\nhttp://a/w_3,c_fill/2.jpg, ,\n\"http://a/3.jpg,b\"\n";
    let (found, _) = all("list.csv", text.as_bytes(), None).await.unwrap();
    let expected = [
        "http://a/1.jpg?x,y",
        "http://a/w_3,c_fill/2.jpg",
        "http://a/3.jpg,b",
    ];
    assert_eq!(shown(&found), expected);
}

#[tokio::test]
async fn blank_lines_comments_and_what_excel_is_told_may_stand_before_the_columns() {
    let lists = [
        "\n \r\nurl;label\nhttp://a/1.jpg;b\n",
        "# url, label\n# faces\nurl,label\nhttp://a/1.jpg,b\n",
        "# columns: label, url\nlabel,url\nb,http://a/1.jpg\n",
        "sep=;\r\nlabel;url\r\nb;http://a/1.jpg\r\n",
        "\u{feff}\"sep=^\"\n\n#\nurl^label\nhttp://a/1.jpg^b\n",
        "#,url,label\n1,http://a/1.jpg,b\n",
    ];
    for name in ["list.csv", "list.txt"] {
        for text in lists {
            let column = Some(Labeling::column());
            let (found, _) = all(name, text.as_bytes(), column).await.unwrap();
            assert_eq!(shown(&found), ["http://a/1.jpg b"], "{text}");
        }
    }
    let error = all("list.csv", b"\n# faces\nlink\nhttp://a/1.jpg\n", None).await;
    let error = error.unwrap_err();
    assert!(
        error.contains("list.csv:3: the CSV has no column `url`"),
        "{error}"
    );
}

#[tokio::test]
async fn many_blank_lines_are_no_record() {
    let blank = "\r\n".repeat(MAX_RECORD);
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
