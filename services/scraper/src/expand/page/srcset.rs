//! The `srcset` attribute (HTML Standard, "srcset attributes").

/// The addresses in the attribute, the one with the largest descriptor first: `2x`, `800w`. One
/// without a descriptor counts as `1x`.
pub(super) fn by_size(srcset: &str) -> Vec<&str> {
    let mut found: Vec<(f64, &str)> = vec![];
    let mut rest = srcset.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    while !rest.is_empty() && found.len() < MOST {
        // A URL ends at white space. It may hold commas itself.
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let url = word.trim_end_matches(',');
        // A comma at its end means that it has no descriptor.
        let (descriptor, next) = match word.len() > url.len() {
            true => ("", after),
            false => after.split_once(',').unwrap_or((after, "")),
        };
        let size = descriptor.trim().trim_end_matches(['w', 'x', 'h']);
        let size = size.parse().unwrap_or(1.0);
        found.push((size, url));
        rest = next.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }
    // The sort is stable: of two that are alike the first is taken.
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, url)| url).collect()
}

/// How many addresses of one attribute are looked at.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_a_srcset_comes_first() {
        let cases = [
            ("a.jpg", Some("a.jpg")),
            ("a.jpg, b.jpg 2x", Some("b.jpg")),
            ("a.jpg 800w,\n b.jpg 400w", Some("a.jpg")),
            ("a,1.jpg 1x, b,2.jpg 1.5x", Some("b,2.jpg")),
            ("", None),
        ];
        for (srcset, expected) in cases {
            assert_eq!(by_size(srcset).first().copied(), expected, "{srcset}");
        }
    }
}
