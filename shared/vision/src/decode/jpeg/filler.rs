//! Bytes between the last block of a scan and the next marker.
//!
//! Some encoders and cameras pad there. But data that is left over is also the only sign of
//! most kinds of damage: a decoder that misread a code finds the wrong number of blocks in
//! the data. So padding must look like it.

/// The number of bytes that may be anything.
pub const FEW: usize = 8;

/// The number of bytes before those that were skipped, which must differ from them. Where a
/// file's rest was overwritten with zeros, the decoder has read thousands of them as blocks
/// before it skips any. Where they are padding, it has read no more than it reads ahead, which
/// is eight bytes.
const BEFORE: usize = 32;

/// Whether the last `count` bytes are padding: few, or of one value. The value 0xFF may be
/// followed by a zero, as in entropy-coded data.
pub fn is_filler(bytes: &[u8], count: usize) -> bool {
    let start = bytes.len().saturating_sub(count);
    count <= FEW
        || (has_one_value(&bytes[start..])
            && !has_one_value(&bytes[start.saturating_sub(BEFORE)..]))
}

fn has_one_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == bytes[0]) || bytes.iter().all(|byte| matches!(byte, 0 | 0xFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_few_bytes_or_one_value_that_begins_with_it() {
        let data: Vec<u8> = (1..=60).collect();
        let with = |tail: &[u8]| [&data, tail].concat();
        let cases = [
            (with(&[0; 900]), 900, true),
            // The decoder has read some of the padding ahead.
            (with(&[0x7F; 900]), 892, true),
            (with(&[0xFF, 0].repeat(500)), 990, true),
            (with(&[0; 900]), 500, false),
            (with(&[7, 8, 9, 7, 8, 9, 7, 8]), 8, true),
            (with(&[7, 8, 9, 7, 8, 9, 7, 8, 9]), 9, false),
            (vec![0; 40], 40, false),
        ];
        for (number, (bytes, count, expected)) in cases.into_iter().enumerate() {
            assert_eq!(is_filler(&bytes, count), expected, "case {number}");
        }
    }
}
