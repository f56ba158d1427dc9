//! Texts of unknown length, cut to a length that a line, a span or a header can hold.

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

#[cfg(test)]
mod tests {
    use super::*;

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
