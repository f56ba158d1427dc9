//! Lists that are text with a URL in each line.

use maskline_messages::MAX_URL;

use super::*;
use crate::expand::list::row::MAX_LINE;

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
async fn an_endless_line_is_one_broken_line() {
    let text = format!("http://a/{}\nhttp://b/\n", "x".repeat(3 * MAX_LINE));
    let (found, _) = all("list.txt", text.as_bytes(), None).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(shown(&found)[0].starts_with("line 1: longer than a URL may be"));
    assert_eq!(shown(&found)[1], "http://b/");
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
async fn a_url_with_a_line_break_or_another_control_character_in_it_is_a_broken_line() {
    let separators = ["\u{b}", "\u{c}", "\u{1b}[0m", "\u{85}", "\u{2028}", "\t"];
    for separator in separators {
        let text = format!("http://a/1.jpg{separator}http://a/2.jpg\nhttp://a/3.jpg\n");
        let (found, _) = all("list.txt", text.as_bytes(), None).await.unwrap();
        let shown = shown(&found);
        assert!(
            shown[0].starts_with("line 1: a tab, a line break"),
            "{shown:?}"
        );
        assert_eq!(shown[1], "http://a/3.jpg");
    }
}

#[tokio::test]
async fn lines_of_one_list_may_end_in_different_ways() {
    let text = "http://a/1.jpg\rhttp://a/2.jpg\r\r\n\nhttp://a/3.jpg\r\nnonsense\r\n";
    let rows = text.replace(".jpg", ".jpg,b");
    let objects: String = text
        .split_inclusive(['\r', '\n'])
        .map(|line| match line.trim() {
            "" => line.to_owned(),
            url => line.replace(url, &format!("{{\"url\":\"{url}\"}}")),
        })
        .collect();
    let utf16 = |text: &str| {
        let text = format!("\u{feff}{text}");
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    let lists: [(&str, Vec<u8>, u64); 6] = [
        ("list.txt", text.into(), 6),
        ("list.txt.gz", gzip(text.as_bytes()), 6),
        ("list.txt", utf16(text), 6),
        ("list.csv", format!("url,label\r{rows}").into(), 7),
        ("list.csv", utf16(&format!("url,label\r\n{rows}")), 7),
        ("list.jsonl", objects.into(), 6),
    ];
    for (name, list, line) in lists {
        let (found, _) = all(name, &list, None).await.unwrap();
        let found = shown(&found);
        let urls = ["http://a/1.jpg", "http://a/2.jpg", "http://a/3.jpg"];
        assert_eq!(found[..3], urls, "{name}");
        assert!(found[3].starts_with(&format!("line {line}: ")), "{found:?}");
        assert_eq!(found.len(), 4, "{name}");
    }
}

#[tokio::test]
async fn an_address_that_is_joined_with_another_column_is_not_asked_for() {
    let text = "http://a/1.jpg\nhttp://a/2.jpg:large\nhttp://a/3.jpg;masked\nhttp://a/4 masked\n\
                http://a/a;v=1/b.jpg\nhttp://a/5.jpg?key=secret;masked faces\n";
    let problem = "another column seems to follow the URL: name the columns in the first line, \
                   or write %20, %22, %2C or %3B for a space, `\"`, `,` or `;` of the URL";
    let bad = |line: u64, text: &str| format!("line {line}: {problem}: {text}");
    for (name, before, first) in [("list.txt", "", 1), ("list.csv", "url\n", 2)] {
        let text = format!("{before}{text}");
        let (found, _) = all(name, text.as_bytes(), None).await.unwrap();
        let expected = [
            "http://a/1.jpg".to_owned(),
            "http://a/2.jpg:large".to_owned(),
            bad(first + 2, "http://a/3.jpg;masked"),
            bad(first + 3, "http://a/4 masked"),
            "http://a/a;v=1/b.jpg".to_owned(),
            bad(first + 5, "http://a/5.jpg"),
        ];
        assert_eq!(shown(&found), expected);
    }
    let labeling = Labeling::Declared {
        label: "masked".parse().unwrap(),
    };
    let text = "http://a/1\nhttp://a/2:masked\n";
    let (found, _) = all("list.txt", text.as_bytes(), Some(labeling))
        .await
        .unwrap();
    assert_eq!(shown(&found)[1], bad(2, "http://a/2:masked"));
}
