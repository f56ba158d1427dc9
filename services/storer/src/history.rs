//! The splits that the images of a collection were in, in its earlier versions.

use std::iter::Peekable;

use anyhow::{Context, Result};
use maskline_dataset::{Member, Split, read_members};
use maskline_messages::{DatasetId, ImageId, Label, ObjectKey};
use maskline_storage::ObjectStore;

use crate::plan::Plan;

/// What became of each image in the versions before. Each takes 34 bytes.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Sorted by image.
    images: Vec<Before>,
}

/// What became of an image in the versions before.
#[derive(Debug, Clone, Copy)]
struct Before {
    image: ImageId,
    /// The split that it was in last.
    split: Split,
    /// Whether it was ever in the training split.
    trained: bool,
}

impl History {
    /// Reads the history of a collection whose newest version is `parent`.
    pub(crate) async fn read(
        objects: &dyn ObjectStore,
        parent: Option<&DatasetId>,
    ) -> Result<Self> {
        let Some(parent) = parent else {
            return Ok(Self::default());
        };
        let unreadable = || format!("the members of dataset {parent}");
        let key = ObjectKey::dataset_members(parent);
        let file = objects.get(&key).await.with_context(unreadable)?;
        let reading = tokio::task::spawn_blocking(move || {
            let mut images = vec![];
            read_members(file, |member| {
                images.push(Before {
                    image: member.image,
                    split: member.split,
                    trained: member.trained,
                });
            })?;
            // They are sorted in the file already.
            images.sort_unstable_by_key(|before| before.image);
            anyhow::Ok(Self { images })
        });
        reading.await?.with_context(unreadable)
    }

    /// The history without these images, which are sorted. They were removed, and never come back.
    pub(crate) fn without(mut self, removed: &[ImageId]) -> Self {
        self.images
            .retain(|before| removed.binary_search(&before.image).is_err());
        self
    }

    /// The split that the earlier versions ask for. An image that was ever trained on is
    /// never validated on. One that was only tested on is like a new one.
    pub(crate) fn split(&self, image: &ImageId) -> Option<Split> {
        let found = self
            .images
            .binary_search_by_key(image, |before| before.image);
        let before = &self.images[found.ok()?];
        match before.split {
            _ if before.trained => Some(Split::Train),
            Split::Test => None,
            split => Some(split),
        }
    }

    /// The members of the version that the plan makes, sorted by image: those in its splits, and
    /// those that were in a split of an earlier version.
    pub(crate) fn continued_by<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = Member> + 'a {
        Continued {
            before: self.images.iter().copied().peekable(),
            now: plan.members().peekable(),
        }
    }
}

/// Merges two lists that are sorted by image. What is now decides over what was before.
struct Continued<Earlier: Iterator, Now: Iterator> {
    before: Peekable<Earlier>,
    now: Peekable<Now>,
}

impl<'a, Earlier, Now> Iterator for Continued<Earlier, Now>
where
    Earlier: Iterator<Item = Before>,
    Now: Iterator<Item = (ImageId, Split, &'a Label)>,
{
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        let now = self.now.peek().map(|(image, ..)| *image);
        let is_gone = |before: &Before| now.is_none_or(|now| before.image < now);
        if let Some(before) = self.before.next_if(is_gone) {
            return Some(Member {
                image: before.image,
                split: before.split,
                trained: before.trained,
                label: None,
            });
        }
        let (image, split, label) = self.now.next()?;
        let before = self.before.next_if(|before| before.image == image);
        let was_trained = before.is_some_and(|before| before.trained);
        Some(Member {
            image,
            split,
            trained: was_trained || split == Split::Train,
            label: Some(label.clone()),
        })
    }
}
