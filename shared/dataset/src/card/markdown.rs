//! Markdown of texts from outside, and tables.

use maskline_foundation::text::shortened;

/// The most characters of a text from outside.
const MOST_CHARACTERS: usize = 200;

/// A text from outside as one line of Markdown that reads like the text: nothing in it is a
/// heading, a link, HTML, or the end of a table's cell.
pub(super) fn plain(text: &str) -> String {
    let visible: String = text
        .chars()
        .map(|character| {
            if is_invisible(character) {
                ' '
            } else {
                character
            }
        })
        .collect();
    let words: Vec<&str> = visible.split_whitespace().collect();
    let mut plain = String::new();
    for character in shortened(&words.join(" "), MOST_CHARACTERS).chars() {
        if r"\`*_[]<>|#&~!".contains(character) {
            plain.push('\\');
        }
        plain.push(character);
    }
    plain
}

/// True for control characters, and for those that change the direction of the text behind
/// them.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A number with its noun: `1 group`, `2 groups`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A table. The first column has texts, and the cells are Markdown already. Columns of numbers
/// are aligned to the right.
pub(super) fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let is_number = |column: usize| {
        let mut cells = rows.iter().map(|row| &row[column]);
        cells.all(|cell| cell.parse::<u64>().is_ok())
    };
    let rules = (0..head.len()).map(|column| match column {
        0 => "---".to_owned(),
        column if is_number(column) => "--:".to_owned(),
        _ => "---".to_owned(),
    });
    let rules: Vec<String> = rules.collect();
    let lines = [head, &rules].into_iter();
    let lines = lines.chain(rows.iter().map(Vec::as_slice));
    lines
        .map(|cells| format!("| {} |\n", cells.join(" | ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_stays_in_its_cell_and_is_no_markdown() {
        for (text, expected) in [
            ("by-sa 4.0", "by-sa 4.0"),
            ("a|b\nc", r"a\|b c"),
            ("<script>", r"\<script\>"),
            ("[x](http://h)", r"\[x\](http://h)"),
            ("\u{1b}[31m\u{202e}red", r"\[31m red"),
            ("  # with_mask  ", r"\# with\_mask"),
        ] {
            assert_eq!(plain(text), expected);
        }
        assert!(plain(&"x".repeat(10_000)).chars().count() <= MOST_CHARACTERS + 1);
    }
}
