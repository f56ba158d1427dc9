//! What is different between two versions of a collection.

use std::{cmp::Ordering, iter::Peekable, vec};

use maskline_messages::{ImageId, Label};
use serde::Serialize;

use crate::{members::Member, split::Split};

/// One difference. An image that has another label and is in another split has two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub image: ImageId,
    #[serde(flatten)]
    pub change: Change,
}

/// What has become of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    Added { label: Label, split: Split },
    Removed { label: Label, split: Split },
    Relabelled { from: Label, to: Label },
    Moved { from: Split, to: Split },
}

/// The differences between two versions, sorted by image. The members of both come sorted by
/// image, as [`read_members`](crate::read_members) gives them.
pub fn differences(before: Vec<Member>, after: Vec<Member>) -> impl Iterator<Item = Difference> {
    Differences {
        before: present(before),
        after: present(after),
        second: None,
    }
}

type Present = Peekable<vec::IntoIter<(ImageId, Label, Split)>>;

/// The images that are in the version, and not only in an earlier one.
fn present(members: Vec<Member>) -> Present {
    let members = members.into_iter();
    let present = members.filter_map(|member| Some((member.image, member.label?, member.split)));
    present.collect::<Vec<_>>().into_iter().peekable()
}

struct Differences {
    before: Present,
    after: Present,
    /// The second difference of the image whose first was the last one.
    second: Option<Difference>,
}

impl Iterator for Differences {
    type Item = Difference;

    fn next(&mut self) -> Option<Difference> {
        if let Some(second) = self.second.take() {
            return Some(second);
        }
        loop {
            let order = match (self.before.peek(), self.after.peek()) {
                (Some((before, ..)), Some((after, ..))) => before.cmp(after),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            match order {
                Ordering::Less => {
                    let (image, label, split) = self.before.next()?;
                    let change = Change::Removed { label, split };
                    return Some(Difference { image, change });
                }
                Ordering::Greater => {
                    let (image, label, split) = self.after.next()?;
                    let change = Change::Added { label, split };
                    return Some(Difference { image, change });
                }
                Ordering::Equal => {
                    let (image, from_label, from) = self.before.next()?;
                    let (_, to_label, to) = self.after.next()?;
                    let relabelled = (from_label != to_label).then_some(Change::Relabelled {
                        from: from_label,
                        to: to_label,
                    });
                    let moved = (from != to).then_some(Change::Moved { from, to });
                    let mut changes = relabelled.into_iter().chain(moved);
                    let mut difference = || {
                        let change = changes.next()?;
                        Some(Difference { image, change })
                    };
                    if let Some(first) = difference() {
                        self.second = difference();
                        return Some(first);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(list: &[(&str, Split, Option<&str>)]) -> Vec<Member> {
        let member = |&(name, split, label): &(&str, Split, Option<&str>)| Member {
            image: ImageId::of(name.as_bytes()),
            split,
            trained: false,
            label: label.map(|label| label.parse().unwrap()),
        };
        let mut members: Vec<Member> = list.iter().map(member).collect();
        members.sort_by_key(|member| member.image);
        members
    }

    #[test]
    fn every_difference_is_found_once() {
        use Split::{Train, Validation};
        let before = members(&[
            ("same", Train, Some("a")),
            ("gone", Train, Some("a")),
            ("moved", Validation, Some("a")),
            ("relabelled", Train, Some("a")),
            ("both", Validation, Some("a")),
            ("was gone", Train, None),
            ("stays gone", Train, None),
        ]);
        let after = members(&[
            ("same", Train, Some("a")),
            ("gone", Train, None),
            ("moved", Train, Some("a")),
            ("relabelled", Train, Some("b")),
            ("both", Train, Some("b")),
            ("was gone", Train, Some("a")),
            ("stays gone", Train, None),
            ("new", Validation, Some("b")),
        ]);
        let label = |name: &str| -> Label { name.parse().unwrap() };
        let (a, b) = (|| label("a"), || label("b"));
        let moved = || Change::Moved {
            from: Validation,
            to: Train,
        };
        let relabelled = || Change::Relabelled { from: a(), to: b() };
        let mut expected = vec![
            (
                "gone",
                Change::Removed {
                    label: a(),
                    split: Train,
                },
            ),
            ("moved", moved()),
            ("relabelled", relabelled()),
            ("both", relabelled()),
            ("both", moved()),
            (
                "was gone",
                Change::Added {
                    label: a(),
                    split: Train,
                },
            ),
            (
                "new",
                Change::Added {
                    label: b(),
                    split: Validation,
                },
            ),
        ];
        expected.sort_by_key(|(name, _)| ImageId::of(name.as_bytes()));
        let expected = expected.into_iter().map(|(name, change)| Difference {
            image: ImageId::of(name.as_bytes()),
            change,
        });
        let found: Vec<_> = differences(before, after).collect();
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
}
