//! Orders that are random and yet always the same.

use maskline_messages::ImageId;
use sha2::{Digest, Sha256};

use super::images::Image;

/// Puts numbers of images into an order that depends on the seed, on `purpose` and on the
/// images' ids, and on nothing else. Orders for two purposes are independent.
pub(super) fn sort_by_draw(numbers: &mut [u32], images: &[Image], seed: u64, purpose: &str) {
    numbers.sort_by_cached_key(|&number| draw(seed, purpose, &images[number as usize].id));
}

fn draw(seed: u64, purpose: &str, image: &ImageId) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    hash.update(image.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
