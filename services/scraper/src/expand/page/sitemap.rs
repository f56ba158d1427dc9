//! A sitemap (sitemaps.org), or an index of sitemaps, with Google's extension for images.

use quick_xml::{Reader, events::Event};
use url::Url;

use super::found::{Found, SitemapKind};

/// Says what kind of sitemap the text is, if it is one.
pub(super) fn kind_of(text: &str) -> Option<SitemapKind> {
    const HEAD: usize = 4096;
    let head = &text[..text.floor_char_boundary(HEAD)];
    let mut reader = Reader::from_str(head);
    reader.config_mut().check_end_names = false;
    loop {
        match reader.read_event() {
            Ok(Event::Start(root) | Event::Empty(root)) => {
                let name = root.local_name();
                return match name.as_ref() {
                    "urlset" => Some(SitemapKind::Pages),
                    "sitemapindex" => Some(SitemapKind::Index),
                    _ => None,
                };
            }
            Ok(Event::Eof) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Adds the pages and images that a sitemap names to `found`. If the sitemap is broken, what
/// comes before the break counts.
pub(super) fn read(text: &str, url: &Url, found: &mut Found) {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = false;
    reader.config_mut().allow_dangling_amp = true;
    // The text of the element that is open, and the image that is.
    let mut open = String::new();
    let mut image: Option<(Option<Url>, Option<String>)> = None;
    loop {
        match reader.read_event() {
            Ok(Event::Start(element)) => {
                open.clear();
                if element.name().as_ref() == "image:image" {
                    image = Some((None, None));
                }
            }
            Ok(Event::Text(text)) => open.push_str(&text.xml10_content()),
            Ok(Event::CData(text)) => open.push_str(&text.xml10_content()),
            Ok(Event::GeneralRef(reference)) => match reference.resolve_char_ref() {
                Ok(Some(c)) => open.push(c),
                _ => open.push_str(match &*reference.xml10_content() {
                    "amp" => "&",
                    "lt" => "<",
                    "gt" => ">",
                    "quot" => "\"",
                    "apos" => "'",
                    _ => "",
                }),
            },
            Ok(Event::End(element)) => {
                match (element.name().as_ref(), &mut image) {
                    ("image:loc", Some((address, _))) => *address = found.resolve(&open),
                    ("image:title" | "image:caption", Some((_, title))) => {
                        title.get_or_insert_with(|| open.clone());
                    }
                    ("image:image", _) => {
                        if let Some((Some(address), title)) = image.take() {
                            found.add_image(address, title.as_deref());
                        }
                    }
                    ("loc", None) => {
                        if let Some(page) = found.resolve(&open) {
                            found.add_link(page);
                        }
                    }
                    _ => {}
                }
                open.clear();
            }
            Ok(Event::Eof) => return,
            Err(error) => {
                let sitemap = maskline_messages::shown(url);
                tracing::warn!(%error, sitemap, "only a part of the sitemap could be read");
                return;
            }
            Ok(_) => {}
        }
    }
}
