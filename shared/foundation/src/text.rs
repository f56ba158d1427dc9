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
    escaped(text, is_obeyed, |c, to| to.extend(c.escape_default()))
}

/// A text of several lines as a terminal may show it: as [`printable`], but with its line breaks
/// and tabs, which are our own. What others wrote in it has to be [`printable`] by itself.
pub fn printable_lines(text: &str) -> String {
    let is_obeyed = |c| is_obeyed(c) && !matches!(c, '\n' | '\t');
    escaped(text, is_obeyed, |c, to| to.extend(c.escape_default()))
}

/// JSON as a terminal may show it: what it need not escape, but a terminal would obey, is escaped
/// as JSON escapes it. It means the same.
pub fn printable_json(json: &str) -> String {
    let is_obeyed = |c| is_obeyed(c) && !matches!(c, '\n' | '\r' | '\t');
    escaped(json, is_obeyed, |c, to| {
        // All of these characters have four digits or fewer.
        to.push_str(&format!("\\u{:04x}", u32::from(c)));
    })
}

/// Returns whether a terminal does something at this character other than to show it.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

fn escaped(
    text: &str,
    is_obeyed: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String),
) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match is_obeyed(c) {
            true => escape(c, &mut escaped),
            false => escaped.push(c),
        }
    }
    escaped
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
        assert_eq!(printable_lines(text), "a\\u{1b}[2J\nb\\u{202e}c é");
    }

    #[test]
    fn json_means_the_same_when_a_terminal_can_show_it() {
        let json = "{\n\"a\": \"\u{9b}2J\u{7f}\u{202e} é\"}";
        let shown = printable_json(json);
        assert_eq!(shown, "{\n\"a\": \"\\u009b2J\\u007f\\u202e é\"}");
        assert_eq!(printable_json(&shown), shown);
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
