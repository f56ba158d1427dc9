//! The reasons for a rejection, in words.

/// Each reason's code, see [`Reason::code`](maskline_messages::Reason::code), with its meaning.
const MEANINGS: [(&str, &str); 30] = [
    ("http_status", "the server answered that there is no image"),
    (
        "refused_address",
        "the address is not public, or not http(s)",
    ),
    ("too_many_redirects", "the address led to too many others"),
    ("too_many_bytes", "the file is too large"),
    (
        "robots_disallowed",
        "the site's robots.txt asks programs to stay away",
    ),
    (
        "opted_out",
        "the site does not want it to be indexed or learned from",
    ),
    ("unreadable", "the local file can't be read"),
    ("empty", "the file has no bytes"),
    ("bad_source_line", "the line of the list names no image"),
    ("not_an_image", "the file is not an image"),
    ("unsupported", "the image's format is not supported"),
    ("truncated", "the file ends before the picture does"),
    ("undecodable", "the file is damaged"),
    ("animated", "the image has several frames"),
    (
        "too_costly",
        "decoding it takes more memory or time than a picture may take",
    ),
    ("decoder_crashed", "the decoder crashed on the file"),
    ("too_small", "the picture has too few pixels"),
    ("too_large", "the picture has too many pixels"),
    ("extreme_aspect", "the picture is a strip"),
    ("blank", "the picture has one colour"),
    ("too_dark", "the picture is too dark"),
    ("too_bright", "the picture is too bright"),
    ("blurred", "the picture is blurred"),
    ("exact_duplicate", "another image has the same bytes"),
    (
        "unchanged",
        "the image is the one that was found there before",
    ),
    ("removed", "a person had the image removed"),
    (
        "license",
        "the licence is not one of those that were asked for",
    ),
    ("bad_label", "what the source gives as label is no label"),
    ("no_label", "there is no label"),
    ("unknown_label", "the label is not a class of the dataset"),
];

/// What a reason means. `None` if the code is not that of a reason.
pub(super) fn meaning(code: &str) -> Option<&'static str> {
    let known = MEANINGS.iter().find(|(known, _)| *known == code);
    known.map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use maskline_messages::Reason;
    use strum::VariantNames;

    use super::*;

    #[test]
    fn every_reason_has_a_meaning() {
        for code in Reason::VARIANTS {
            assert!(meaning(code).is_some(), "{code}");
        }
    }
}
