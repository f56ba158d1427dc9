//! The names of licences, as `Provenance` keeps them: `by-sa 4.0`, `cc0 1.0`, `pdm 1.0`.

use maskline_messages::License;
use url::Url;

use super::text::cleaned;

/// The most characters of a licence's name.
const MAX_NAME: usize = 100;

/// The name of a licence with this address and this name, of which the address is more
/// reliable. It is `None` where both say nothing.
pub(super) fn normalized(url: Option<&str>, name: Option<&str>) -> Option<String> {
    url.and_then(of_url).or_else(|| of_name(name?))
}

/// The name of a licence at Creative Commons, such as
/// `https://creativecommons.org/licenses/by-sa/2.0/de/deed.en`.
fn of_url(url: &str) -> Option<String> {
    let url: Url = url.trim().parse().ok()?;
    let host = url.host_str()?.trim_start_matches("www.");
    if host != "creativecommons.org" {
        return None;
    }
    let mut segments = url.path_segments()?;
    let (family, code) = (segments.next()?, segments.next()?.to_ascii_lowercase());
    let code = match (family, code.as_str()) {
        ("licenses", _) => code,
        ("publicdomain", "zero") => License::Cc0.to_string(),
        ("publicdomain", "mark") => License::Pdm.to_string(),
        _ => return None,
    };
    let rest: Vec<_> = segments
        .take_while(|s| is_version(s) || is_country(s))
        .collect();
    Some(joined(&code, &rest))
}

/// The name of a licence that a provider names `CC BY-SA 4.0`, `by-sa 4.0` or
/// `Public domain`. A licence of somebody else keeps its name, in lower case.
fn of_name(name: &str) -> Option<String> {
    let name = cleaned(name, MAX_NAME).to_lowercase();
    if name.is_empty() {
        return None;
    }
    let of_creative_commons = name
        .strip_prefix("cc ")
        .or_else(|| name.strip_prefix("cc-"))
        .unwrap_or(&name);
    let (code, rest) = of_creative_commons
        .split_once(' ')
        .unwrap_or((of_creative_commons, ""));
    if name == "public domain" || name == "public domain mark" {
        return Some(License::Pdm.to_string());
    }
    // Some write a hyphen before the version, too.
    let (code, version) = match code.rsplit_once('-') {
        Some((code, version)) if is_version(version) => (code, Some(version)),
        _ => (code, None),
    };
    if License::of_provenance(code).is_none() {
        return Some(name);
    }
    let rest: Vec<_> = version.into_iter().chain(rest.split_whitespace()).collect();
    Some(joined(code, &rest))
}

fn joined(code: &str, rest: &[&str]) -> String {
    let parts: Vec<_> = [code].iter().chain(rest).copied().collect();
    parts.join(" ").to_ascii_lowercase()
}

fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// A licence may be made for the law of one country.
fn is_country(text: &str) -> bool {
    (2..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_have_the_same_name_however_providers_write_them() {
        let cases = [
            (
                Some("https://creativecommons.org/licenses/by-sa/4.0/"),
                None,
                Some("by-sa 4.0"),
            ),
            (
                Some("http://www.creativecommons.org/licenses/BY/2.0/de/deed.en"),
                Some("whatever"),
                Some("by 2.0 de"),
            ),
            (
                Some("https://creativecommons.org/publicdomain/zero/1.0/deed.en"),
                Some("CC0"),
                Some("cc0 1.0"),
            ),
            (
                Some("https://creativecommons.org/publicdomain/mark/1.0/"),
                None,
                Some("pdm 1.0"),
            ),
            (
                Some("https://example.org/licenses/by/4.0/"),
                Some("CC BY 4.0"),
                Some("by 4.0"),
            ),
            (None, Some("CC BY-SA 3.0"), Some("by-sa 3.0")),
            (None, Some("cc-by-sa-4.0"), Some("by-sa 4.0")),
            (None, Some("CC BY-SA 2.0 de"), Some("by-sa 2.0 de")),
            (None, Some("by-nc 2.0"), Some("by-nc 2.0")),
            (None, Some("CC0 1.0"), Some("cc0 1.0")),
            (None, Some("CC0"), Some("cc0")),
            (None, Some("Public domain"), Some("pdm")),
            (Some(""), Some("GFDL\n1.2"), Some("gfdl 1.2")),
            (
                None,
                Some("All Rights Reserved"),
                Some("all rights reserved"),
            ),
            (None, Some("by accident"), Some("by accident")),
            (Some("nonsense"), Some("  "), None),
            (None, None, None),
        ];
        for (url, name, expected) in cases {
            assert_eq!(
                normalized(url, name).as_deref(),
                expected,
                "{url:?} {name:?}"
            );
        }
    }
}
