//! Groups of images that look the same or are of one photograph, each of which goes to one split as
//! a whole.

use maskline_dataset::Split;
use maskline_messages::SourceRole;
use maskline_storage::records::SplitSettings;

use super::{
    draw::sort_by_draw,
    images::{CONFLICTING, Image},
};

/// A group of images of one photograph. The image with the lowest id stands for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// How many images are in it.
    pub(super) size: u32,
    /// How many of them have the label that is shared out.
    of_label: u32,
    /// The split that was decided for it. A group that has an image of a test source is in
    /// the test split: its other images are withheld.
    pub(super) split: Option<Split>,
}

impl Group {
    fn add(&mut self, image: &Image) {
        self.size += 1;
        let split = match image.role {
            SourceRole::Test => Some(Split::Test),
            SourceRole::Train => image.before,
        };
        if rank(split) > rank(self.split) {
            self.split = split;
        }
    }
}

/// Sets the label of images that look the same and yet have several labels to [`CONFLICTING`].
/// `firsts` has for each image the number of the first image that looks the same.
pub(super) fn compare_labels(images: &mut [Image], firsts: &[u32]) {
    for (number, &first) in firsts.iter().enumerate() {
        if images[number].label != images[first as usize].label {
            images[first as usize].label = CONFLICTING;
        }
    }
    for (number, &first) in firsts.iter().enumerate() {
        images[number].label = images[first as usize].label;
    }
}

/// Which of the splits of its images a group is in: the one with the highest rank.
fn rank(split: Option<Split>) -> u8 {
    match split {
        None => 0,
        Some(Split::Validation) => 1,
        Some(Split::Train) => 2,
        Some(Split::Test) => 3,
    }
}

/// Makes the groups: counts their images, and decides for their split what the roles of the
/// sources and the earlier versions decide. `firsts` has for each image the number of its group's
/// first image. The result has a group at the number of its first image, and groups of size 0 at
/// all other numbers.
pub(super) fn groups(images: &[Image], firsts: &[u32]) -> Vec<Group> {
    let empty = Group {
        size: 0,
        of_label: 0,
        split: None,
    };
    let mut groups = vec![empty; images.len()];
    for (image, &first) in images.iter().zip(firsts) {
        groups[first as usize].add(image);
    }
    groups
}

/// Shares one label's groups out between training and validation. Groups that have a split
/// already keep it, even if another label's turn decided it. Returns `false` if the label has none
/// to train or validate with.
pub(super) fn assign_splits(
    images: &[Image],
    firsts: &[u32],
    groups: &mut [Group],
    label: u16,
    settings: &SplitSettings,
) -> bool {
    groups.iter_mut().for_each(|group| group.of_label = 0);
    let of_label = images.iter().zip(firsts);
    for (_, &first) in of_label.filter(|(image, _)| image.label == label) {
        groups[first as usize].of_label += 1;
    }
    let is_shared_out = |group: &Group| group.of_label > 0 && group.split != Some(Split::Test);
    let (mut count, mut total, mut taken) = (0, 0, 0);
    let mut new: Vec<u32> = vec![];
    for (first, group) in (0..)
        .zip(&*groups)
        .filter(|(_, group)| is_shared_out(group))
    {
        count += 1;
        total += group.of_label as usize;
        match group.split {
            None => new.push(first),
            Some(Split::Validation) => taken += group.of_label as usize,
            Some(_) => {}
        }
    }
    sort_by_draw(&mut new, images, settings.seed, "group");
    let share = (total as f64 * settings.validation.clamp(0.0, 1.0)).round() as usize;
    let on_both_sides = settings.validation > 0.0 && count > 1;
    let wanted = if on_both_sides {
        share.clamp(1, total - 1)
    } else {
        share
    };

    // The smallest group is taken if every group is larger than the share.
    let size = |first: u32| groups[first as usize].of_label as usize;
    let smallest = new.iter().copied().min_by_key(|&first| size(first));
    for &first in &new {
        let group = &mut groups[first as usize];
        let fits = taken + group.of_label as usize <= wanted;
        if fits {
            taken += group.of_label as usize;
        }
        group.split = Some(if fits {
            Split::Validation
        } else {
            Split::Train
        });
    }
    if let (true, 0, Some(smallest)) = (on_both_sides, taken, smallest) {
        groups[smallest as usize].split = Some(Split::Validation);
    }
    count > 0
}
