//! The parser of web pages, with its limits.

use std::borrow::Cow;

use lol_html::{
    ElementContentHandlers, HtmlRewriter, MemorySettings, Selector, Settings,
    errors::RewritingError,
};

/// How much memory the parser may take. It remembers each element that is open, and holds a tag
/// with its attributes until it ends.
const MEMORY: usize = 24 << 20;

/// A selector with what is called for the elements, or for their text.
pub(crate) type Handler<'h> = (Cow<'h, Selector>, ElementContentHandlers<'h>);

/// Reads a page in UTF-8 and calls the handlers.
///
/// # Errors
/// If a handler fails, and if the parser needs too much memory. The handlers were called for what
/// comes before.
pub(crate) fn parse<'h>(
    html: &[u8],
    handlers: impl IntoIterator<Item = Handler<'h>>,
) -> Result<(), RewritingError> {
    let memory = MemorySettings::new().with_max_allowed_memory_usage(MEMORY);
    // A page that can be understood in two ways is one for a browser, too.
    let settings = Settings::new()
        .with_strict(false)
        .with_memory_settings(memory);
    let settings = handlers
        .into_iter()
        .fold(settings, Settings::append_element_content_handler);
    let mut rewriter = HtmlRewriter::new(settings, |_: &[u8]| {});
    rewriter.write(html)?;
    rewriter.end()
}
