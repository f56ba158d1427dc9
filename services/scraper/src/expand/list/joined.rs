//! A URL with which another column is joined: `http://a/1.jpg;with_mask`. Such an address is
//! never asked for.
//!
//! Where the first line names columns, it says what separates them. Where it names none, or only
//! that of the URLs, a line is one URL. But a URL may hold most of what separates columns, and so
//! these rules tell what is another column:
//!
//! * White space ends a URL, except within the name of an image: `my photo.jpg`.
//! * A quote (`"`) ends a URL.
//! * A separator ends a URL where another URL follows it.
//! * A separator ends a URL where it follows the name of an image, and what follows is the last
//!   part of the path and neither another name of an image nor a parameter: `1.jpg;with_mask`,
//!   `1.jpg,12`. So `1.jpg;v=1` and `logo.png,x_5/1.jpg` are URLs, and so is `1.jpg:large`, as
//!   Twitter has it.
//! * A separator ends a URL where one of the classes that the source's labelling names follows.
//!
//! A line with such a URL is rejected. The whole list is refused where that would be the lot of
//! more than half of its lines, or where its lines together show what one of them does not
//! (`http://a/1;with_mask`): more than half of them have the same separator in the last part of
//! their path or in their query, the same column behind it is a word, and these words are more than
//! one and few: no more than three, or than half of the lines, and no more than the URLs. In a
//! query `,` and `:` don't count, because they often separate what is in it.

use std::collections::HashSet;

use maskline_messages::Label;
use url::Url;

use super::{
    lines,
    row::{ListContext, unreadable, without_secrets},
};
use crate::expand::{candidate::SourceCandidate, image_names};

/// What may separate columns where no line names them.
const SEPARATORS: [char; 10] = [',', ';', '|', '^', ':', '，', '；', '｜', '：', '、'];

/// What stands behind a `:` at the end of Twitter's addresses.
const TWITTER_SIZES: [&str; 5] = ["large", "medium", "orig", "small", "thumb"];

/// How many lines of a list are looked at before it is read.
const SAMPLE_LINES: usize = 1000;

/// How many columns are looked at behind the URL.
const SAMPLE_COLUMNS: usize = 4;

/// The candidate of a line that is nothing but a URL, or the rejected one if it is more.
pub(super) fn checked(
    line: &str,
    candidate: SourceCandidate,
    number: u64,
    context: &ListContext,
) -> SourceCandidate {
    if candidate.rejected.is_some() || !is_joined(line, context.classes()) {
        return candidate;
    }
    let problem = "another column seems to follow the URL: name the columns in the first line, \
                   or write %20, %22, %2C or %3B for a space, `\"`, `,` or `;` of the URL";
    unreadable(number, &without_secrets(line), problem.to_owned(), context)
}

/// The number of a line with a label behind its URL, if the lines of the list seem to be like
/// that. `text` is the beginning of the list.
pub(super) fn line_with_label(text: &str, classes: &[Label]) -> Option<usize> {
    let lines = lines::of_text(text).map(str::trim).zip(1..);
    let urls: Vec<_> = lines
        .filter(|(line, _)| !line.starts_with('#') && line.contains("://"))
        .filter(|(line, _)| line.parse::<Url>().is_ok_and(|url| url.has_host()))
        .take(SAMPLE_LINES)
        .collect();
    let is_most = |count: usize| 2 * count > urls.len();
    let joined = urls.iter().filter(|(line, _)| is_joined(line, classes));
    if is_most(joined.clone().count()) {
        return joined.map(|(_, number)| *number).next();
    }
    let places = SEPARATORS
        .into_iter()
        .flat_map(|separator| (0..SAMPLE_COLUMNS).map(move |column| (separator, column)));
    for (separator, column) in places {
        let labelled: Vec<_> = urls
            .iter()
            .filter_map(|(line, number)| Some((split(line, separator, column)?, *number)))
            .collect();
        let addresses: HashSet<_> = labelled.iter().map(|((url, _), _)| url).collect();
        let words: HashSet<_> = labelled.iter().map(|((_, word), _)| word).collect();
        let few = addresses.len().min((labelled.len() / 2).max(3));
        if is_most(labelled.len()) && (2..=few).contains(&words.len()) {
            return labelled.first().map(|(_, number)| *number);
        }
    }
    None
}

/// Splits a line at a separator in the last part of its URL. Returns the URL, and the word in
/// a column behind it.
fn split(line: &str, separator: char, column: usize) -> Option<(&str, &str)> {
    let last_part = line.rfind('/')?;
    let end = last_part + line[last_part..].find(separator)?;
    let is_of_query = line[..end].contains('?') && matches!(separator, ',' | ':');
    if is_of_query || image_names::is_image(line) {
        return None;
    }
    let columns = line[end..].split(separator).map(str::trim);
    // Two separators, such as `::`, are like one.
    let mut columns = columns.filter(|column| !column.is_empty());
    let word = columns.nth(column).filter(|column| is_word(column))?;
    let is_size = separator == ':' && TWITTER_SIZES.contains(&word);
    (!is_size).then_some((&line[..end], word))
}

/// Returns whether the line alone shows that another column is joined with its URL.
fn is_joined(line: &str, classes: &[Label]) -> bool {
    if line.contains('"') {
        return true;
    }
    if let Some((url, rest)) = line.split_once(char::is_whitespace) {
        let is_name = image_names::has_image_ending(rest) && !image_names::has_image_ending(url);
        if !is_name || rest.contains("://") {
            return true;
        }
    }
    let mut separators = line.char_indices().filter(|(_, c)| SEPARATORS.contains(c));
    separators.any(|(at, separator)| {
        let url = &line[..at];
        if url.ends_with(separator) {
            return false;
        }
        let rest = line[at..].trim_start_matches(separator);
        let column = rest.split(separator).next().unwrap_or_default();
        let is_class = || classes.iter().any(|class| class.as_str() == column);
        is_url(rest)
            || image_names::is_image(url) && is_column(separator, rest)
            || !image_names::is_image(line) && is_class()
    })
}

/// Returns whether what follows the name of an image and a separator is another column, and no part
/// of the URL.
fn is_column(separator: char, rest: &str) -> bool {
    let is_size = separator == ':' && TWITTER_SIZES.contains(&rest);
    !is_size && !rest.contains(['/', '=', '&', '(', ')']) && !image_names::is_image(rest)
}

/// Returns whether the text begins as a URL does.
pub(super) fn is_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        let begin = text.as_bytes().get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme.as_bytes()))
    })
}

/// Returns whether a text may be a label, and hardly a part of a URL.
fn is_word(text: &str) -> bool {
    let is_digit = text.len() == 1 && text.starts_with(|c: char| c.is_ascii_digit());
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    is_digit || text.starts_with(char::is_alphabetic) && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> [Label; 1] {
        ["with_mask".parse().unwrap()]
    }

    #[test]
    fn a_line_alone_shows_that_a_column_is_joined_with_its_url() {
        for line in [
            "http://a/1.jpg;masked",
            "http://a/1.jpg;masked;x 1",
            "http://a/1.jpg;with mask",
            "http://a/1.jpg, 1",
            "http://a/1.webp|b",
            "http://a/1.jpg^0",
            "http://a/1.jpg;",
            "http://a/1.jpg,300",
            "http://a/1.jpg,0.97,-1",
            "http://a/1.jpg:masked",
            "http://a/1.jpg::masked",
            "http://a/1.jpg，masked",
            "http://a/1.jpg;戴口罩",
            "http://a/1.jpg\u{a0}masked",
            "http://a/1 masked",
            "http://a/1 http://a/2.jpg",
            "http://a/1;HTTPS://a/2",
            "http://a/1;with_mask",
            "http://a/?id=1:with_mask",
            "http://a/1.jpg\",\"masked\"",
        ] {
            assert!(is_joined(line, &classes()), "{line}");
        }
        for line in [
            "http://a:80/1.jpg",
            "http://me:word@a/1.jpg",
            "http://a/1,url,2.jpg",
            "http://a/crop;300,200",
            "http://a/1.jpg,x.jpg",
            "http://a/upload/l_logo.png,g_south,x_5/1.jpg",
            "http://a/filters:watermark(b-logo.png,0,0,50)/1.jpg",
            "http://a/my photo.jpg?w=3",
            "http://a/1.jpg:large",
            "http://a/1.jpg;v=1",
            "http://a/a.jpg;v=1/b.jpg",
            "http://a/my photo.jpg",
            "http://a/with_mask,1.jpg",
            "http://a/x,with_mask,1.jpg",
            "http://a/fetch/w_300,c_fill/http://b/1.jpg",
            "http://a/?url=http://b/1.jpg",
            "http://a/?auto=format,compress",
        ] {
            assert!(!is_joined(line, &classes()), "{line}");
        }
    }

    #[test]
    fn lines_together_show_that_a_column_is_joined_with_their_urls() {
        let cases = [
            ("http://a/1;masked\nhttp://a/2;bare", Some(1)),
            ("http://a/?id=1;masked\rhttp://a/?id=2;bare", Some(1)),
            ("http://a/1.jpg:masked\nhttp://a/2.jpg:bare", Some(1)),
            ("http://a/1;17;masked\nhttp://a/2;18;bare", Some(1)),
            ("# a\nhttp://a/3.jpg\n\nhttp://a/1;b\nhttp://a/2;c", Some(4)),
            ("picture;kind\nhttp://a/1.jpg;masked", Some(2)),
            ("http://a/1.jpg:large\nhttp://a/2.jpg:large", None),
            ("http://a/1.jpg:large\nhttp://a/2.jpg:orig", None),
            ("http://a/1:large\nhttp://a/2:orig", None),
            ("http://a/1?x=resize,w_300\nhttp://a/2?x=resize,w_600", None),
            ("http://a/?q=tbn:ANd9\nhttp://a/?q=tbn:ANc7", None),
            ("http://a/1_CR0,1,140_.jpg\nhttp://a/2_CR0,5,140_.jpg", None),
            ("http://a/File:Anna\nhttp://a/File:Berta", None),
            ("http://a/1;v=1\nhttp://a/2;v=2", None),
            (
                "http://a/1.jpg\nhttp://a/Paris,France\nhttp://a/2.jpg",
                None,
            ),
            ("http://a/w_1,c_fill/1.jpg\nhttp://a/w_1,c_fit/2.jpg", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(line_with_label(text, &[]), expected, "{text}");
        }
    }
}
