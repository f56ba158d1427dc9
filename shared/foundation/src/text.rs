//! Texts that others wrote: cut to a length that a line, a span or a header can hold, and without
//! what a terminal would obey.

/// At most `limit` characters of `text`, with an ellipsis where some were cut.
pub fn shortened(text: &str, limit: usize) -> String {
    let start = first_chars(text, limit);
    if start.len() == text.len() {
        text.to_owned()
    } else {
        format!("{start}…")
    }
}

/// The first `limit` characters of `text`.
pub fn first_chars(text: &str, limit: usize) -> &str {
    match text.char_indices().nth(limit) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// At most `limit` bytes of `text`, cut between two characters.
pub fn first_bytes(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// The text as a terminal may show it in one line: control characters, line breaks and what turns
/// the direction of writing are escapes. Printing it twice changes nothing.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        let is_obeyed = c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match is_obeyed {
            true => printable.extend(c.escape_default()),
            false => printable.push(c),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_moves_the_cursor_of_a_terminal() {
        let text = "a\u{1b}[2J\nb\u{202e}c é";
        let shown = printable(text);
        assert_eq!(shown, "a\\u{1b}[2J\\nb\\u{202e}c é");
        assert_eq!(printable(&shown), shown);
    }

    #[test]
    fn characters_are_counted_and_never_cut() {
        assert_eq!(first_chars("été", 2), "ét");
        assert_eq!(first_chars("été", 3), "été");
        assert_eq!(first_bytes("été", 1), "");
        assert_eq!(first_bytes("été", 3), "ét");
        assert_eq!(first_bytes("été", 99), "été");
    }

    #[test]
    fn an_ellipsis_stands_only_where_something_was_cut() {
        assert_eq!(shortened("été", 3), "été");
        assert_eq!(shortened("été", 2), "ét…");
        assert_eq!(shortened("", 0), "");
    }
}
