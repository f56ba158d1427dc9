use std::{fs::File, io::Write, path::Path};

use maskline_messages::MAX_URL;
use tempfile::NamedTempFile;

use super::{csv_format::MAX_RECORD, line::MAX_LINE, *};
use crate::expand::candidate::{STEP_SIZE, SourceCandidate};

/// Everything in the list, step by step, with the steps' sizes.
async fn all(
    name: &str,
    text: &[u8],
    labeling: Option<Labeling>,
) -> Result<(Vec<SourceCandidate>, Vec<usize>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    File::create(&path).unwrap().write_all(text).unwrap();
    let list = Location::Path(path.clone());
    let (mut found, mut sizes, mut cursor) = (vec![], vec![], None);
    loop {
        let opened = Arc::new(LocalList::from_file(&path).map_err(|e| e.to_string())?);
        let step = step(opened, &list, labeling.as_ref(), cursor.as_deref())
            .await
            .map_err(|e| e.to_string().replace(path.to_str().unwrap(), name))?;
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
    let (found, _) = all("list", text.as_bytes(), Some(Labeling::Column))
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
    let column = || Some(Labeling::Column);
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
    let error = LocalList::from_file(Path::new("/no/such/list")).unwrap_err();
    assert!(error.to_string().contains("/no/such/list can't be read"));
}

#[tokio::test]
async fn a_list_that_changes_between_steps_is_not_mixed_up() {
    let file = NamedTempFile::new().unwrap();
    let list = Location::Path(file.path().to_owned());
    let write = |from: usize| {
        let urls: Vec<String> = (from..from + 2 * STEP_SIZE)
            .map(|n| format!("http://a/{n}"))
            .collect();
        std::fs::write(file.path(), urls.join("\n")).unwrap();
    };
    write(0);
    let opened = Arc::new(LocalList::from_file(file.path()).unwrap());
    let next = step(opened, &list, None, None).await.unwrap().next_cursor;
    write(100_000);
    let opened = Arc::new(LocalList::from_file(file.path()).unwrap());
    let error = step(opened, &list, None, next.as_deref())
        .await
        .unwrap_err();
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
