use std::{collections::BTreeMap, io::Write, sync::Mutex};

use flate2::{Compression as Level, write::GzEncoder};
use maskline_messages::MAX_URL;
use maskline_storage::objects;
use maskline_test_support::environment::Environment;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use url::Url;

use super::*;
use crate::fetch::FetchLimits;

fn found(html: &str) -> Vec<String> {
    let base = "http://site/gallery/page.html".parse().unwrap();
    let urls = images(html.as_bytes(), &base);
    urls.into_iter().map(String::from).collect()
}

#[test]
fn images_are_found_wherever_a_page_may_hold_them() {
    let html = r#"<!doctype html><html><head>
        <meta property="og:image" content="https://cdn/cover.jpg">
        <meta name="twitter:image" content="https://cdn/card.jpg">
        <script type="application/ld+json">{"@type": "ImageObject", "contentUrl": "ld.jpg"}</script>
        <body><img src="1.jpg"><IMG SRC='/2.png?a=1&amp;b=2'>
        <img src="dot.gif" data-src="late.webp">
        <picture><source srcset="p-400.webp 400w, p-800.webp 800w"><img src="p.jpg"></picture>
        <a href="full/3.JPG#top"><img src="1.jpg"></a> <a href="about.html">about</a>
        <noscript><img src="hidden.jpg" alt="x"></noscript>
        <video><source src="film.mp4"></video>"#;
    let expected = [
        "https://cdn/cover.jpg",
        "https://cdn/card.jpg",
        "http://site/gallery/ld.jpg",
        "http://site/gallery/1.jpg",
        "http://site/2.png?a=1&b=2",
        "http://site/gallery/late.webp",
        "http://site/gallery/p-800.webp",
        "http://site/gallery/p.jpg",
        "http://site/gallery/full/3.JPG",
        "http://site/gallery/hidden.jpg",
    ];
    assert_eq!(found(html), expected);
}

#[test]
fn an_address_that_cannot_be_fetched_gives_way_to_the_next() {
    let dot = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
    let html = format!(
        r#"<img src="1.jpg" srcset="{dot}">
        <img src="x.gif" srcset="{dot}" data-srcset="2.jpg 800w">
        <img src="3.jpg" data-src="{dot}">
        <img src="{dot}" data-lazy-src="4.jpg">
        <img src="{dot}" data-original="5.jpg">
        <img src="6.jpg" srcset="{dot}" data-lazy-srcset="6-large.jpg 300w" data-lazy-src="6.jpg">
        <img src="{dot}">"#
    );
    let expected = ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6-large.jpg"];
    let expected = expected.map(|name| format!("http://site/gallery/{name}"));
    assert_eq!(found(&html), expected);
}

#[test]
fn a_value_that_is_no_picture_gives_way_to_the_next() {
    let attributes = [
        r#"data-lazy="1""#,
        r#"data-lazyload="false""#,
        r#"data-lazy-src="auto""#,
        r#"data-original="null""#,
        r#"data-image="99""#,
        r##"data-src="#photo""##,
        r#"data-src="{{ face.src }}""#,
        r#"data-src="/faces/{width}/a.jpg""#,
        r#"data-srcset="true""#,
        r#"data-srcset="/faces/{width}/a.jpg 2x""#,
        r#"data-url="/people/7""#,
        r#"data-zoom-image="false""#,
        r#"data-video-src="/film.jpg""#,
        r#"data-preview="tiny.jpg""#,
        r#"alt="b.jpg""#,
        r#":src="face.src""#,
    ];
    for attribute in attributes {
        let html = format!(r#"<img {attribute} src="a.jpg">"#);
        assert_eq!(found(&html), ["http://site/gallery/a.jpg"], "{attribute}");
    }
    for src in ["#", "{{face}}", "film.mp4"] {
        let html = format!(r#"<img src="{src}">"#);
        assert_eq!(found(&html), [] as [&str; 0], "{src}");
    }
}

#[test]
fn each_script_has_its_own_attributes_for_pictures() {
    let one = [
        "data-cfsrc",
        "data-ezsrc",
        "nitro-lazy-src",
        "data-echo",
        "lazysrc",
        "data-flickity-lazyload",
        "data-splide-lazy",
        "data-image-src",
        "data-large-file",
        "data-pagespeed-lazy-src",
        "data-zoom-image",
        "data-delayed-url",
        "loadlate",
        "zoomfile",
        "real_src",
    ];
    let several = [
        "data-ezsrcset",
        "nitro-lazy-srcset",
        "data-bgset",
        "data-flickity-lazyload-srcset",
    ];
    let one = one.map(|name| format!(r#"{name}="a.jpg""#));
    let several = several.map(|name| format!(r#"{name}="small.jpg 90w, a.jpg 900w""#));
    for attribute in one.iter().chain(&several) {
        let img = format!(r#"<img src="dot.gif" {attribute}>"#);
        let source = format!(r#"<picture><source srcset="data:," {attribute}></picture>"#);
        for html in [img, source] {
            assert_eq!(found(&html), ["http://site/gallery/a.jpg"], "{html}");
        }
    }
}

#[test]
fn an_image_element_has_one_picture_the_largest() {
    let html = r#"<img src="a-300.jpg" data-thumb="a-90.jpg" data-src="a-600.jpg"
            data-medium-file="a-300.jpg" data-large-file="a-900.jpg" data-orig-file="a.jpg">
        <img src="b-300.jpg" data-src="b-600.jpg" data-srcset="b-600.jpg 1x, b.jpg 2x">
        <img src="data:," data-thumb="c.jpg">"#;
    let expected = ["a.jpg", "b.jpg", "c.jpg"].map(|name| format!("http://site/gallery/{name}"));
    assert_eq!(found(html), expected);
}

#[test]
fn a_noscript_may_have_escaped_html() {
    let html = r#"<img src="data:,"><noscript>&lt;img src=&quot;a.jpg?x=1&amp;amp;y=2&quot;&gt;
        </noscript><noscript>a &lt; b</noscript><noscript><p>&lt;img src=b.jpg></noscript>"#;
    assert_eq!(found(html), ["http://site/gallery/a.jpg?x=1&y=2"]);
}

#[test]
fn the_base_element_counts_and_urls_that_are_not_http_do_not() {
    let html = r#"<base href="http://other/x/"><img src="a.jpg">
        <img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><img src="javascript:0">
        <img src=""><img><img src="file:///etc/passwd">"#;
    assert_eq!(found(html), ["http://other/x/a.jpg"]);
}

#[test]
fn the_first_base_counts_for_the_whole_page() {
    let two = r#"<base target="_blank"><base href="/a/"><base href="/nowhere/"><img src="1.jpg">"#;
    let after = r#"<img src="1.jpg"><base href="/a/">"#;
    for html in [two, after] {
        assert_eq!(found(html), ["http://site/a/1.jpg"]);
    }
}

#[test]
fn a_base_that_is_no_part_of_the_page_does_not_count() {
    let without = [
        "<template><base href='/nowhere/'></template>",
        "<template><div><template></template><base href='/nowhere/'></div></template>",
        "<svg><base href='/nowhere/'/></svg>",
        "<svg><g><base href='/nowhere/'></base></g></svg>",
        "<math><base href='/nowhere/'/></math>",
    ];
    for html in without {
        let base = "<img src=1.jpg><base href='/a/'>";
        assert_eq!(found(&format!("{html}{base}")), ["http://site/a/1.jpg"]);
        let none = format!("{html}<img src=1.jpg>");
        assert_eq!(found(&none), ["http://site/gallery/1.jpg"]);
    }
    let within_svg = "<svg><foreignObject><base href='/a/'></foreignObject></svg><img src=1.jpg>";
    assert_eq!(found(within_svg), ["http://site/a/1.jpg"]);
}

#[test]
fn the_length_that_counts_is_that_of_the_normalized_url() {
    let begin = "http://a/";
    let longest = format!("{begin}{}", "x".repeat(MAX_URL - begin.len()));
    let escaped = format!("{begin}{}", "ä".repeat(MAX_URL / 4));
    let html = format!(
        r#"<base href="{longest}/"><img src="b.jpg"><img src="{longest}#top">
        <img src="{longest}x"><img src="{escaped}">"#
    );
    let expected = ["http://site/gallery/b.jpg", longest.as_str()];
    assert_eq!(found(&html), expected);
}

#[test]
fn broken_html_gives_the_images_that_were_found_in_it() {
    assert_eq!(
        found("<img src=a.jpg><div <img src=b.jpg"),
        ["http://site/gallery/a.jpg"]
    );
    assert_eq!(found("\u{0}\u{1}not html"), [] as [&str; 0]);
}

#[test]
fn a_small_page_does_not_become_a_large_one() {
    // Ten thousand short addresses, which a long `base` makes long.
    let base = format!("http://a/{}/", "x".repeat(MAX_URL / 2));
    let mut html = format!("<base href=\"{base}\">");
    html.extend((0..10_000).map(|n| format!("<img src={n}>")));
    let bytes: usize = found(&html).iter().map(String::len).sum();
    assert!((1 << 20..=4 << 20).contains(&bytes), "{bytes}");
    // Elements that are never closed: the parser remembers each of them.
    let nested = format!("<img src=a.jpg>{}<img src=b.jpg>", "<b>".repeat(3 << 20));
    assert_eq!(found(&nested)[0], "http://site/gallery/a.jpg");
    let attributes = format!("<img src=a.jpg><p {}><img src=b.jpg>", "a ".repeat(4 << 20));
    assert_eq!(found(&attributes)[0], "http://site/gallery/a.jpg");
}

#[test]
fn of_many_noscript_elements_only_so_many_are_read() {
    let hidden = |n| format!("<noscript><img src={n}.jpg></noscript>");
    let html: String = (0..MAX_IMAGES + 10).map(hidden).collect();
    let html = format!("<noscript></noscript>{html}<img src=last.jpg>");
    // The same images do not count twice, but their elements do.
    let same = "<noscript><img src=0.jpg></noscript>".repeat(10) + &html;
    assert_eq!(found(&html).len(), MAX_IMAGES);
    let found = found(&same);
    assert_eq!(found.len(), MAX_IMAGES - 10 + 1);
    assert_eq!(found.last().unwrap(), "http://site/gallery/last.jpg");
}

/// A site on this machine. Each path has a status, a media type and a body.
struct Site {
    address: Url,
    /// How often each path was asked for.
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

type Pages = Vec<(String, (u16, &'static str, Vec<u8>))>;

impl Site {
    async fn serve(pages: Pages) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let counts = asked.clone();
        let pages: Arc<BTreeMap<_, _>> = Arc::new(pages.into_iter().collect());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (pages, counts) = (pages.clone(), counts.clone());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut request = String::new();
                    while stream
                        .read_line(&mut request)
                        .await
                        .is_ok_and(|read| read > 2)
                    {}
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    *counts.lock().unwrap().entry(path.clone()).or_default() += 1;
                    let missing = (404, "text/plain", vec![]);
                    let (status, media, body) = pages.get(&path).unwrap_or(&missing);
                    let head = format!(
                        "HTTP/1.1 {status} X\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\
                         Connection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(body).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self {
            address: address.parse().unwrap(),
            asked,
        }
    }

    fn asked(&self, path: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .get(path)
            .copied()
            .unwrap_or_default()
    }
}

fn html(path: &str, body: &str) -> (String, (u16, &'static str, Vec<u8>)) {
    (
        path.to_owned(),
        (200, "text/html", body.as_bytes().to_vec()),
    )
}

/// What a crawl finds: paths of images, with the number of steps. Without `keep`, each step is
/// taken by a process that knows nothing of the last one.
async fn crawl(
    site: &Site,
    path: &str,
    depth: u32,
    keep: bool,
) -> Result<(Vec<SourceCandidate>, usize), String> {
    let environment = Environment::embedded();
    let fetcher = Fetcher::for_tests(&environment, FetchLimits::for_tests()).await;
    let folder = tempfile::tempdir().unwrap();
    let address = format!("file:{}", folder.path().display());
    let objects = objects::open(&address).await.unwrap();
    let job = JobId::draw();
    let options = CrawlOptions {
        url: site.address.join(path).unwrap(),
        depth,
        same_site: true,
    };
    let (mut all, mut steps, mut cursor, mut kept) = (vec![], 0, None::<String>, None);
    loop {
        let request = CrawlRequest {
            job,
            options: options.clone(),
            labeling: None,
            cursor: cursor.as_deref(),
            found: all.len() as u64,
            attempts: ATTEMPTS,
        };
        let stepped = step(&fetcher, &objects, request, kept).await;
        let (step, open) = stepped.map_err(|error| error.to_string())?;
        all.extend(step.candidates);
        steps += 1;
        kept = open.filter(|_| keep);
        cursor = step.next_cursor;
        if cursor.is_none() {
            let left = objects.list("crawls", None, 10).await.unwrap();
            assert!(left.is_empty(), "a crawl that is over has left {left:?}");
            return Ok((all, steps));
        }
    }
}

fn paths(found: &[SourceCandidate]) -> Vec<String> {
    let path = |found: &SourceCandidate| match &found.location {
        maskline_messages::Location::Url(url) => url.path().to_owned(),
        other => panic!("{other}"),
    };
    found.iter().map(path).collect()
}

#[tokio::test]
async fn links_are_followed_to_a_depth_and_each_page_and_image_counts_once() {
    let site = Site::serve(vec![
        html(
            "/",
            "<img src=logo.png alt='the logo'><a href=a/>a</a><a href=b>b</a><a href=/#x>here</a>
            <a href=http://127.0.0.2/other>other</a><a rel=nofollow href=secret>no</a>",
        ),
        html(
            "/a/",
            "<img src=/logo.png><img src=1.jpg title='a &amp; b'><a href=deep>deep</a>",
        ),
        html(
            "/b",
            "<img src=2.jpg><a href=/>home</a><a href=gone>gone</a><a href=/broken>x</a>",
        ),
        html("/a/deep", "<img src=3.jpg><a href=deeper>deeper</a>"),
        html("/a/deeper", "<img src=4.jpg>"),
        html("/secret", "<img src=5.jpg>"),
        ("/broken".to_owned(), (500, "text/html", vec![])),
        ("/robots.txt".to_owned(), (404, "text/plain", vec![])),
    ])
    .await;
    let (found, steps) = crawl(&site, "", 0, true).await.unwrap();
    assert_eq!((paths(&found), steps), (vec!["/logo.png".to_owned()], 1));
    let provenance = &found[0].provenance;
    assert_eq!(provenance.landing_page, Some(site.address.clone()));
    assert_eq!(provenance.title.as_deref(), Some("the logo"));

    let (found, _) = crawl(&site, "", 2, true).await.unwrap();
    assert_eq!(
        paths(&found),
        ["/logo.png", "/a/1.jpg", "/2.jpg", "/a/3.jpg"]
    );
    assert_eq!(found[1].provenance.title.as_deref(), Some("a & b"));
    assert_eq!(
        found[1].provenance.landing_page,
        site.address.join("a/").ok()
    );
    assert_eq!(site.asked("/secret"), 0);
    assert_eq!(site.asked("/a/deeper"), 0);
    assert!(site.asked("/broken") >= 1);
}

#[tokio::test]
async fn a_large_crawl_takes_steps_that_any_process_can_take() {
    let pages = 3 * STEP_PAGES + 5;
    let links: String = (0..pages)
        .map(|n| format!("<a href=/p{n}>{n}</a>"))
        .collect();
    let mut site: Pages = (0..pages)
        .map(|n| {
            html(
                &format!("/p{n}"),
                &format!("<img src={n}.jpg><img src=logo.png>{links}"),
            )
        })
        .collect();
    site.push(html("/", &links));
    let site = Site::serve(site).await;
    let (kept, steps) = crawl(&site, "", 5, true).await.unwrap();
    let (fresh, fresh_steps) = crawl(&site, "", 5, false).await.unwrap();
    assert_eq!(kept, fresh);
    // The last step deletes what the others have written.
    assert_eq!((steps, fresh_steps), (5, 5));
    let mut expected = vec!["/0.jpg".to_owned(), "/logo.png".to_owned()];
    expected.extend((1..pages).map(|n| format!("/{n}.jpg")));
    assert_eq!(paths(&kept), expected);
    assert_eq!(site.asked("/p7"), 2, "once in each crawl");
}

#[tokio::test]
async fn sitemaps_stand_for_their_pages() {
    let map = |address: &str| {
        format!(
            "<?xml version='1.0'?><urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>
            <url><loc>/p1?a=1&amp;b=2</loc><image:image><image:loc>/named.jpg</image:loc>
            <image:title>A <![CDATA[& B]]></image:title></image:image></url>
            <url><loc>{address}</loc></url></urlset>"
        )
    };
    let mut packed = GzEncoder::new(vec![], Level::fast());
    packed.write_all(map("/p2").as_bytes()).unwrap();
    let index = "<sitemapindex><sitemap><loc>/map.xml.gz</loc></sitemap>
        <sitemap><loc>/index.xml</loc></sitemap></sitemapindex>";
    // Some writers fill their last block with zeros.
    let packed = [packed.finish().unwrap(), vec![0; 100]].concat();
    let site = Site::serve(vec![
        ("/index.xml".to_owned(), (200, "text/xml", index.into())),
        (
            "/map.xml.gz".to_owned(),
            (200, "application/x-gzip", packed),
        ),
        html("/p1?a=1&b=2", "<img src=1.jpg><a href=/p3>more</a>"),
        html("/p2", "<img src=2.jpg>"),
        html("/p3", "<img src=3.jpg>"),
    ])
    .await;
    let (found, _) = crawl(&site, "index.xml", 0, true).await.unwrap();
    assert_eq!(paths(&found), ["/named.jpg", "/1.jpg", "/2.jpg"]);
    assert_eq!(found[0].provenance.title.as_deref(), Some("A & B"));
}

#[tokio::test]
async fn a_page_in_another_encoding_and_robots_are_heeded() {
    let latin = b"<meta charset=iso-8859-1><img src='caf\xe9.jpg?q=\xe9'>".to_vec();
    let site = Site::serve(vec![
        ("/".to_owned(), (200, "text/html", latin)),
        html("/private/a", "<img src=1.jpg>"),
        (
            "/robots.txt".to_owned(),
            (
                200,
                "text/plain",
                b"User-agent: *\nDisallow: /private/".to_vec(),
            ),
        ),
    ])
    .await;
    let (found, _) = crawl(&site, "", 0, true).await.unwrap();
    // A query is in the page's encoding, as browsers send it.
    assert!(
        found[0]
            .location
            .to_string()
            .ends_with("/caf%C3%A9.jpg?q=%E9")
    );
    let error = crawl(&site, "private/a", 0, true).await.unwrap_err();
    assert!(error.contains("robots.txt disallows"), "{error}");
    let error = crawl(&site, "gone", 0, true).await.unwrap_err();
    assert!(error.contains("the server answered 404"), "{error}");
}

#[tokio::test]
async fn a_list_that_is_taken_for_a_page_says_which_command_reads_it() {
    let list = b"url,label\nhttp://a/1.jpg,with_mask\n".to_vec();
    let site = Site::serve(vec![("/faces.csv".to_owned(), (200, "text/csv", list))]).await;
    let error = crawl(&site, "faces.csv", 0, true).await.unwrap_err();
    assert!(error.contains("it seems to be a list"), "{error}");
    assert!(error.contains("maskline enqueue urls"), "{error}");
}
