//! The rules of a robots.txt for one crawler, read and matched in time that grows with their
//! length, and kept in little more memory than their text. Section numbers are those of RFC 9309.

use std::collections::HashSet;

use memchr::memmem;

/// How many rules of a site may have a `*` or a `$` (section 2.2.3). Each is compared with every
/// path by itself. Further ones become stricter: a `Disallow` forbids all that begins like it, and
/// an `Allow` is left out.
const MAX_WILD: usize = 1000;

/// How `user-agent`, `disallow` and `allow` are written, mistakes included: who makes one means the
/// rule all the same.
const USER_AGENT: [&[u8]; 3] = [b"user-agent", b"useragent", b"user agent"];
const DISALLOW: [&[u8]; 5] = [
    b"disallow",
    b"dissallow",
    b"dissalow",
    b"disalow",
    b"diasllow",
];
const ALLOW: [&[u8]; 1] = [b"allow"];

/// The rules for one crawler.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// The patterns, one after the other.
    patterns: Box<[u8]>,
    /// The rules without wildcards, in the order of their patterns. No two have the same.
    plain: Box<[Rule]>,
    /// The rules with wildcards, the longest first.
    wild: Box<[Rule]>,
}

/// A rule, whose pattern begins and ends at these bytes of all patterns.
#[derive(Debug, Clone, Copy)]
struct Rule {
    begin: u32,
    end: u32,
    allows: bool,
}

impl RuleSet {
    /// Reads what a robots.txt says to the crawler `product`, or else to everybody (section 2.2.1).
    pub(super) fn parse(text: &[u8], product: &str) -> Self {
        let (mut for_product, mut for_all) = (vec![], vec![]);
        let mut group = Group::default();
        let mut is_named = false;
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for line in text.split(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
            let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let (key, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            if is_one_of(key, &USER_AGENT) {
                group.begin();
                group.is_for_all |= is_everybody(value);
                if token(value).eq_ignore_ascii_case(product.as_bytes()) {
                    (group.is_for_product, is_named) = (true, true);
                }
                continue;
            }
            let allows = is_one_of(key, &ALLOW);
            if !allows && !is_one_of(key, &DISALLOW) {
                continue;
            }
            group.has_rules = true;
            // A pattern that begins otherwise matches no path, and neither does a `$` alone.
            if !value.starts_with(b"/") && !value.starts_with(b"*") {
                continue;
            }
            if group.is_for_product {
                for_product.push((value, allows));
            }
            if group.is_for_all {
                for_all.push((value, allows));
            }
        }
        Self::of(if is_named { for_product } else { for_all })
    }

    /// The set of these patterns, each with whether it allows.
    fn of(rules: Vec<(&[u8], bool)>) -> Self {
        let (mut plain, mut wild, mut seen) = (vec![], vec![], HashSet::new());
        for (pattern, allows) in rules {
            let mut pattern = normalized(pattern, b"");
            if let Some(first) = pattern.iter().position(|byte| is_wildcard(*byte)) {
                let has_room = seen.len() < MAX_WILD || seen.contains(&(pattern.clone(), allows));
                if has_room {
                    if seen.insert((pattern.clone(), allows)) {
                        wild.push((pattern, allows));
                    }
                    continue;
                }
                if allows {
                    continue;
                }
                pattern.truncate(first);
            }
            plain.push((pattern, allows));
        }
        // Of two equal patterns the one that allows comes first, and stays (section 2.2.2).
        plain.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        plain.dedup_by(|later, earlier| later.0 == earlier.0);
        wild.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
        let mut patterns = vec![];
        let mut kept = |rules: Vec<(Vec<u8>, bool)>| -> Box<[Rule]> {
            let rules = rules.into_iter().map(|(pattern, allows)| {
                let begin = patterns.len() as u32;
                patterns.extend(pattern);
                Rule {
                    begin,
                    end: patterns.len() as u32,
                    allows,
                }
            });
            rules.collect()
        };
        let (plain, wild) = (kept(plain), kept(wild));
        Self {
            patterns: patterns.into(),
            plain,
            wild,
        }
    }

    /// Returns whether the crawler may ask for this path, which includes a query: the rule with the
    /// longest pattern that matches decides, and of two that are as long the one that allows
    /// (section 2.2.2).
    pub fn allows(&self, path: &str) -> bool {
        let path = normalized(path.as_bytes(), b"*$");
        let mut best = self.longest_plain(&path);
        for rule in &self.wild {
            let length = rule.length();
            let is_better = best.is_none_or(|best| {
                length > best.length() || length == best.length() && !best.allows && rule.allows
            });
            // None of those that follow is longer.
            if best.is_some_and(|best| length < best.length()) {
                break;
            }
            if is_better && matches(self.pattern(rule), &path) {
                best = Some(*rule);
            }
        }
        best.is_none_or(|rule| rule.allows)
    }

    /// How many bytes of memory the rules take.
    pub(super) fn bytes(&self) -> usize {
        self.patterns.len() + (self.plain.len() + self.wild.len()) * size_of::<Rule>()
    }

    fn pattern(&self, rule: &Rule) -> &[u8] {
        &self.patterns[rule.begin as usize..rule.end as usize]
    }

    /// The rule without wildcards that has the longest pattern with which `path` begins.
    fn longest_plain(&self, path: &[u8]) -> Option<Rule> {
        // The rules that begin as the path does, up to the byte that is looked at.
        let mut alike = &self.plain[..];
        let mut longest = None;
        for depth in 0..=path.len() {
            // A pattern that ends here comes before all that go on.
            if let Some((first, others)) = alike.split_first()
                && first.length() == depth
            {
                longest = Some(*first);
                alike = others;
            }
            let Some(byte) = path.get(depth).filter(|_| !alike.is_empty()) else {
                break;
            };
            let at = |rule: &Rule| self.pattern(rule)[depth];
            let begin = alike.partition_point(|rule| at(rule) < *byte);
            let end = alike.partition_point(|rule| at(rule) <= *byte);
            alike = &alike[begin..end];
        }
        longest
    }
}

impl Rule {
    fn length(&self) -> usize {
        (self.end - self.begin) as usize
    }
}

/// The group of lines that is being read.
#[derive(Default)]
struct Group {
    is_for_product: bool,
    is_for_all: bool,
    /// A rule was read, after which a `user-agent` begins another group.
    has_rules: bool,
}

impl Group {
    fn begin(&mut self) {
        if self.has_rules {
            *self = Self::default();
        }
    }
}

fn is_one_of(key: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|name| key.eq_ignore_ascii_case(name))
}

fn is_everybody(value: &[u8]) -> bool {
    let after = value.strip_prefix(b"*").map(<[u8]>::first);
    after.is_some_and(|next| next.is_none_or(u8::is_ascii_whitespace))
}

/// The product token that a `user-agent` names. A version may follow, which means nothing.
fn token(value: &[u8]) -> &[u8] {
    let is_part = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_');
    let end = value.iter().position(|byte| !is_part(byte));
    &value[..end.unwrap_or(value.len())]
}

fn is_wildcard(byte: u8) -> bool {
    matches!(byte, b'*' | b'$')
}

/// The form in which patterns and paths are compared (section 2.2.2): characters that need no
/// percent-encoding have none, and all others have it. So have the characters `special`.
fn normalized(text: &[u8], special: &[u8]) -> Vec<u8> {
    let mut normalized = Vec::with_capacity(text.len());
    let mut encode = |byte: u8, as_it_is: bool| match as_it_is {
        true => normalized.push(byte),
        false => {
            let digit = |half: u8| b"0123456789ABCDEF"[usize::from(half)];
            normalized.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    };
    let mut rest = text;
    while let Some((&byte, others)) = rest.split_first() {
        rest = others;
        let hex = |at: usize| char::from(*others.get(at)?).to_digit(16);
        if byte == b'%'
            && let (Some(high), Some(low)) = (hex(0), hex(1))
        {
            let byte = ((high << 4) | low) as u8;
            encode(byte, is_unreserved(byte));
            rest = &others[2..];
        } else {
            encode(byte, byte.is_ascii_graphic() && !special.contains(&byte));
        }
    }
    normalized
}

/// A character that means the same with and without percent-encoding (RFC 3986, section 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Returns whether a path matches a pattern. Each part between two `*` is looked for behind the
/// part before: if it is found earlier, there is more room for the others. So every byte of
/// the path is passed once.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (pattern, is_to_end) = match pattern.strip_suffix(b"$") {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let mut parts = pattern.split(|byte| *byte == b'*');
    let Some(mut rest) = path.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    if is_to_end && parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if is_to_end && parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match memmem::find(rest, part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> RuleSet {
        RuleSet::parse(text.as_bytes(), "maskline")
    }

    #[test]
    fn a_pattern_matches_as_the_rfc_says() {
        let cases = [
            ("/fish", "/fish/salmon.html", true),
            ("/fish", "/fishheads?id=1", true),
            ("/fish", "/Fish.asp", false),
            ("/fish/", "/fish", false),
            ("/fish*", "/fishheads/yummy.html", true),
            ("/*.php", "/folder/file.php?parameters", true),
            ("/*.php", "/windows.PHP", false),
            ("/*.php$", "/file.php", true),
            ("/*.php$", "/file.php/", false),
            ("/fish*.php", "/fishheads/catfish.php?parameters", true),
            ("/$", "/", true),
            ("/$", "/x", false),
            ("*", "/anything", true),
            ("*a*b*c", "/xaxxbxxcxx", true),
            ("*a*b*c", "/xaxxcxxbxx", false),
            ("/a*a$", "/a", false),
            ("/a*a$", "/aa", true),
            ("/a$b", "/a$b", false),
            ("/path/%7Euser", "/path/~user", true),
            ("/path/~user", "/path/%7euser", true),
            ("/a%2Fb", "/a/b", false),
            ("/a%2fb", "/a%2Fb", true),
            ("/file-with-a-%2A.html", "/file-with-a-*.html", true),
            ("/foo/bar/ツ", "/foo/bar/%E3%83%84", true),
            ("/100%", "/100%x", true),
        ];
        for (pattern, path, expected) in cases {
            let rules = rules(&format!("User-agent: *\nDisallow: {pattern}\n"));
            assert_eq!(!rules.allows(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_longest_pattern_decides_and_of_two_the_one_that_allows() {
        let cases = [
            ("Allow: /p\nDisallow: /", "/page", true),
            ("Allow: /folder\nDisallow: /folder", "/folder/page", true),
            ("Disallow: /folder\nAllow: /folder", "/folder/page", true),
            ("Allow: /page\nDisallow: /*.htm", "/page.htm", false),
            ("Allow: /$\nDisallow: /", "/", true),
            ("Allow: /$\nDisallow: /", "/page.htm", false),
            ("Allow: /x*\nDisallow: /xy", "/xyz", true),
            ("Disallow:\nAllow: /x", "/y", true),
            ("Disallow: $", "/y", true),
        ];
        for (lines, path, expected) in cases {
            let rules = rules(&format!("User-agent: *\n{lines}\n"));
            assert_eq!(rules.allows(path), expected, "{lines:?} {path}");
        }
    }

    #[test]
    fn the_groups_for_us_count_together_or_else_those_for_everybody() {
        let cases = [
            (
                "User-agent: *\nDisallow: /\n\nUser-agent: MASKLINE/1.0\nDisallow: /b",
                [true, false],
            ),
            (
                "User-agent: maskline\nDisallow: /a\nUser-agent: x\nDisallow: /\nUser-agent: maskline\nDisallow: /b",
                [false, false],
            ),
            (
                "User-agent: x\nUser-agent: maskline\nSitemap: /s\nDisallow: /b",
                [true, false],
            ),
            (
                "User-agent: maskline\nUser-agent: *\nDisallow: /a",
                [false, true],
            ),
            (
                "User-agent: maskline\n\nUser-agent: x\nDisallow: /",
                [false, false],
            ),
            ("User-agent: maskline-images\nDisallow: /", [true, true]),
            (
                "User-agent: * # all\ndisallow : /a # this\rDISALLOW:/b",
                [false, false],
            ),
            ("user agent: *\nDissallow: /b", [true, false]),
            ("Disallow: /", [true, true]),
        ];
        for (text, expected) in cases {
            let rules = rules(text);
            assert_eq!(
                ["/a", "/b"].map(|path| rules.allows(path)),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn equal_rules_are_kept_once() {
        let text = format!("User-agent: *\n{}", "Disallow:*b\n".repeat(40_000));
        let rules = rules(&text);
        assert!(rules.bytes() < 100, "{}", rules.bytes());
        assert!(!rules.allows("/abc") && rules.allows("/acd"));
    }

    #[test]
    fn of_very_many_rules_with_wildcards_the_last_are_stricter() {
        let mut text = "User-agent: *\nDisallow: /first$\n".to_owned();
        for number in 0..MAX_WILD {
            text += &format!("Disallow: /many/{number}$\n");
        }
        text += "Disallow: /last*x$\nAllow: /last/but/allowed$\nDisallow: $\nDisallow: /plain/\n\
                 Disallow: /first$\n";
        let rules = rules(&text);
        let cases = [
            ("/first", false),
            ("/first/2", true),
            ("/last", false),
            ("/last/but/allowed", false),
            ("/plain/1", false),
            ("/other", true),
        ];
        for (path, expected) in cases {
            assert_eq!(rules.allows(path), expected, "{path}");
        }
        assert!(rules.bytes() < 2 * text.len(), "{}", rules.bytes());
    }

    /// A matcher that tries all ways to match, which takes long for many wildcards.
    fn matches_by_trying(pattern: &[u8], path: &[u8]) -> bool {
        match pattern.split_first() {
            None => true,
            Some((b'$', [])) => path.is_empty(),
            Some((b'*', rest)) => (0..=path.len()).any(|at| matches_by_trying(rest, &path[at..])),
            Some((byte, rest)) => path.first() == Some(byte) && matches_by_trying(rest, &path[1..]),
        }
    }

    #[test]
    fn matching_is_the_same_as_by_trying_all_ways() {
        // All patterns of up to five of these characters, on all paths of up to four.
        let texts = |letters: &[u8], most: u32| -> Vec<Vec<u8>> {
            let all = (0..=most).flat_map(|length| {
                let letters = letters.to_vec();
                (0..letters.len().pow(length)).map(move |mut number| {
                    let mut text = vec![];
                    for _ in 0..length {
                        text.push(letters[number % letters.len()]);
                        number /= letters.len();
                    }
                    text
                })
            });
            all.collect()
        };
        for pattern in texts(b"ab*$", 5) {
            // A `$` in the middle is a character that no normalized path has.
            for path in texts(b"ab", 4) {
                let expected = matches_by_trying(&pattern, &path);
                let shown = (pattern.escape_ascii(), path.escape_ascii());
                assert_eq!(matches(&pattern, &path), expected, "{shown:?}");
            }
        }
    }
}
