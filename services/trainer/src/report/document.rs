//! The frame that the pages of all reports have.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The style of all pages.
const STYLE: &str = include_str!("page.css");

/// Returns a page with this title, header and content. It is one file that loads nothing, in the
/// light or dark colours that the reader prefers.
pub(crate) fn document(title: &str, header: &Markup, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – maskline" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { (header) }
                main { (content) }
            }
        }
    };
    page.into_string()
}
