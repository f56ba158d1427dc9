//! What Hugging Face's Hub calls a licence. It knows a fixed list of names.

use std::collections::BTreeSet;

use crate::tally::Tally;

/// The names that the Hub has for licences of pictures.
const NAMES: [&str; 17] = [
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "cc0-1.0",
    "pddl",
];

/// The Hub's names of all licences, sorted. A licence without a name there is `other`, and
/// images without a licence make it `unknown`.
pub(super) fn hub_licenses(licenses: &Tally) -> Vec<&'static str> {
    let texts = licenses.texts().into_iter();
    let mut names: BTreeSet<&'static str> = texts.map(|(text, _)| hub_license(text)).collect();
    if licenses.others() > 0 {
        names.insert("other");
    }
    if licenses.unknown() > 0 || names.is_empty() {
        names.insert("unknown");
    }
    names.into_iter().collect()
}

/// The Hub's name of a licence that is written like `by-sa 4.0`, `CC BY-SA 4.0` or `cc0`.
fn hub_license(text: &str) -> &'static str {
    let words = text.to_ascii_lowercase().replace([' ', '_'], "-");
    let bare = words.strip_prefix("cc-").unwrap_or(&words);
    let name = match bare {
        "cc0" | "0" | "zero" | "cc0-1.0" | "0-1.0" | "zero-1.0" => "cc0-1.0".to_owned(),
        "pddl" => "pddl".to_owned(),
        bare => format!("cc-{bare}"),
    };
    let known = NAMES.into_iter().find(|known| *known == name);
    known.unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_have_the_hubs_names() {
        for (text, name) in [
            ("by-sa 4.0", "cc-by-sa-4.0"),
            ("CC BY-SA 4.0", "cc-by-sa-4.0"),
            ("by 2.0", "cc-by-2.0"),
            ("cc0", "cc0-1.0"),
            ("cc0 1.0", "cc0-1.0"),
            ("CC0-1.0", "cc0-1.0"),
            ("by-sa 2.0", "other"),
            ("pdm 1.0", "other"),
            ("all rights reserved", "other"),
        ] {
            assert_eq!(hub_license(text), name, "{text}");
        }
    }

    #[test]
    fn images_without_a_licence_are_not_hidden_by_the_others() {
        let mut licenses = Tally::default();
        assert_eq!(hub_licenses(&licenses), ["unknown"]);
        licenses.add(Some("by 4.0"));
        assert_eq!(hub_licenses(&licenses), ["cc-by-4.0"]);
        licenses.add(Some("CC BY 4.0"));
        licenses.add(None);
        assert_eq!(hub_licenses(&licenses), ["cc-by-4.0", "unknown"]);
    }
}
