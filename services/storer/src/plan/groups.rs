//! Groups of images that look the same, each of which goes to one split as a whole.

use maskline_dataset::Split;
use maskline_storage::records::SplitSettings;

use super::{
    draw::sort_by_draw,
    images::{CONFLICTING, Image},
};

/// A group of near-duplicates. The image with the lowest id stands for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// How many images are in it.
    pub(super) size: u32,
    /// The number of the label that all its images have, or [`CONFLICTING`].
    pub(super) label: u32,
    pub(super) split: Split,
}

/// Counts the groups' images and compares their labels. `firsts` has for each image the
/// number of its group's first image. The result has a group at the number of its first
/// image, and groups of size 0 at all other numbers.
pub(super) fn groups(images: &[Image], firsts: &[u32]) -> Vec<Group> {
    let empty = Group {
        size: 0,
        label: 0,
        split: Split::Train,
    };
    let mut groups = vec![empty; images.len()];
    for (image, &first) in images.iter().zip(firsts) {
        let group = &mut groups[first as usize];
        if group.size == 0 {
            group.label = image.label;
        } else if group.label != image.label {
            group.label = CONFLICTING;
        }
        group.size += 1;
    }
    groups
}

/// Shares one label's groups out between the splits. Returns `false` if it has none.
pub(super) fn assign_splits(
    images: &[Image],
    groups: &mut [Group],
    label: u32,
    settings: &SplitSettings,
) -> bool {
    let has_label = |group: &Group| group.size > 0 && group.label == label;
    let labelled = (0..).zip(&*groups).filter(|(_, group)| has_label(group));
    let mut firsts: Vec<u32> = labelled.map(|(first, _)| first).collect();
    sort_by_draw(&mut firsts, images, settings.seed, "group");
    let size = |first: u32| groups[first as usize].size as usize;
    let total: usize = firsts.iter().map(|&first| size(first)).sum();
    let share = (total as f64 * settings.validation.clamp(0.0, 1.0)).round() as usize;
    let on_both_sides = settings.validation > 0.0 && firsts.len() > 1;
    let wanted = if on_both_sides {
        share.clamp(1, total - 1)
    } else {
        share
    };

    // The smallest group is taken if every group is larger than the share.
    let smallest = firsts.iter().copied().min_by_key(|&first| size(first));
    let mut taken = 0;
    for &first in &firsts {
        let group = &mut groups[first as usize];
        if taken + group.size as usize <= wanted {
            taken += group.size as usize;
            group.split = Split::Validation;
        }
    }
    if on_both_sides && taken == 0 {
        let smallest = smallest.expect("more than one group");
        groups[smallest as usize].split = Split::Validation;
    }
    !firsts.is_empty()
}
