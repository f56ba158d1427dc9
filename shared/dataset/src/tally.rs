//! Counts of images by a text from outside, such as a licence.

use std::collections::BTreeMap;

use maskline_foundation::text::shortened;

/// The most texts that are counted one by one.
const MOST_TEXTS: usize = 1_000;

/// The most characters of a text that are kept.
const MOST_CHARACTERS: usize = 300;

/// Counts of images by a text. Its memory is bounded, whatever the texts are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    by_text: BTreeMap<String, u64>,
    unknown: u64,
    others: u64,
}

impl Tally {
    /// Counts one more image with this text, or with none. A text that is new after a
    /// thousand others is counted among the others.
    pub fn add(&mut self, text: Option<&str>) {
        self.add_images(text, 1);
    }

    /// Counts so many more images with this text, or with none.
    pub fn add_images(&mut self, text: Option<&str>, images: u64) {
        let Some(text) = text else {
            self.unknown += images;
            return;
        };
        let text = shortened(text, MOST_CHARACTERS);
        if let Some(count) = self.by_text.get_mut(&text) {
            *count += images;
        } else if self.by_text.len() < MOST_TEXTS {
            self.by_text.insert(text, images);
        } else {
            self.others += images;
        }
    }

    /// The texts with their counts, the most frequent first.
    pub fn texts(&self) -> Vec<(&str, u64)> {
        let texts = self.by_text.iter();
        let mut sorted: Vec<_> = texts.map(|(text, &count)| (text.as_str(), count)).collect();
        sorted.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        sorted
    }

    /// The number of images without a text.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// The number of images whose texts are not among [`Tally::texts`].
    pub fn others(&self) -> u64 {
        self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted_the_most_frequent_first() {
        let mut tally = Tally::default();
        for text in [Some("a"), Some("b"), None, Some("b"), Some("c")] {
            tally.add(text);
        }
        assert_eq!(tally.texts(), [("b", 2), ("a", 1), ("c", 1)]);
        assert_eq!((tally.unknown(), tally.others()), (1, 0));
    }

    #[test]
    fn the_memory_does_not_grow_with_the_texts() {
        let mut tally = Tally::default();
        for number in 0..3 * MOST_TEXTS {
            tally.add(Some(&format!("{number} {}", "x".repeat(10_000))));
        }
        assert_eq!(tally.others(), 2 * MOST_TEXTS as u64);
        let texts = tally.texts();
        assert_eq!(texts.len(), MOST_TEXTS);
        assert!(
            texts
                .iter()
                .all(|(text, _)| text.chars().count() <= MOST_CHARACTERS + 1)
        );
    }
}
