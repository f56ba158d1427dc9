//! Listings of keys.

use std::collections::BTreeSet;

use maskline_messages::ObjectKey;

use crate::{
    environment::Environment,
    samples::{key, names_of, put_all},
};

contract! {
    a_listing_is_of_whole_segments,
    nothing_is_listed_outside_of_the_store,
    a_listing_comes_in_sorted_pages,
    a_listing_comes_in_the_order_of_the_keys,
}

async fn a_listing_is_of_whole_segments(environment: &Environment) {
    let store = environment.objects().await;
    let names = ["a/1f/x", "a/1f/y/z", "a/1f2/x", "a/1f-2", "b/1f/x", "c"];
    put_all(&store, &names).await;
    let cases: [(&str, &[&str]); 6] = [
        ("a/1f", &["a/1f/x", "a/1f/y/z"]),
        ("a/1f/", &["a/1f/x", "a/1f/y/z"]),
        ("a/1f/y", &["a/1f/y/z"]),
        ("b", &["b/1f/x"]),
        // An object is not below itself.
        ("c", &[]),
        ("a/1", &[]),
    ];
    for (prefix, expected) in cases {
        let listed = store.list(prefix, None, 100).await.unwrap();
        assert_eq!(names_of(&listed), expected, "below {prefix}");
    }
    assert_eq!(store.list("", None, 100).await.unwrap().len(), names.len());
}

async fn nothing_is_listed_outside_of_the_store(environment: &Environment) {
    let store = environment.objects().await;
    put_all(&store, &["a/b"]).await;
    for prefix in [
        "..",
        "../",
        "a/..",
        "a/../..",
        "./a",
        ".",
        "a//b",
        "~unfinished",
        "a\\b",
    ] {
        assert_eq!(store.list(prefix, None, 100).await, Ok(vec![]), "{prefix}");
    }
}

async fn a_listing_comes_in_sorted_pages(environment: &Environment) {
    let store = environment.objects().await;
    let names: BTreeSet<String> = (0..25).map(|n| format!("raw/{}/{n}", n % 4)).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    put_all(&store, &all).await;
    let mut found: Vec<ObjectKey> = vec![];
    let mut pages = vec![];
    loop {
        let page = store.list("raw", found.last(), 10).await.unwrap();
        pages.push(page.len());
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(pages, [10, 10, 5, 0]);
    assert_eq!(names_of(&found), all);
    let between = store.list("raw", Some(&key("raw/2/0")), 1).await.unwrap();
    assert_eq!(names_of(&between), ["raw/2/10"], "a key that is not there");
    assert_eq!(store.list("raw", None, 0).await, Ok(vec![]));
}

async fn a_listing_comes_in_the_order_of_the_keys(environment: &Environment) {
    let store = environment.objects().await;
    // `-` and `.` come before `/`, and so before what lies in the folder.
    let sorted = ["p/a-b/x", "p/a.b", "p/a/x", "p/a0"];
    put_all(&store, &sorted).await;
    let listed = store.list("p", None, 10).await.unwrap();
    assert_eq!(names_of(&listed), sorted);
    for (number, name) in sorted.iter().enumerate() {
        let after = store.list("p", Some(&key(name)), 10).await.unwrap();
        assert_eq!(names_of(&after), sorted[number + 1..], "after {name}");
    }
}
