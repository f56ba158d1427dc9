//! Tests of the networks. They are one program, because linking Burn takes longer than
//! the tests themselves.

#[cfg(feature = "gpu")]
mod gpu;
mod loss;
mod networks;
mod ops;
mod torchvision;
mod weights;
mod weights_file;

/// Returns values in [-1, 1) that depend on a name and an index only. `make.py` in
/// `tests/torchvision` computes the same values.
fn uniform(name: &str, len: usize) -> Vec<f32> {
    let hash = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    let value = |index: u64| {
        let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (2.0 * ((z >> 40) as f64 / f64::from(1 << 24)) - 1.0) as f32
    };
    (0..len as u64).map(value).collect()
}

/// The largest difference, as a share of the largest expected value.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected
        .iter()
        .fold(f32::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
    let off = |(found, expected): (&f32, &f32)| match (found - expected).abs() {
        off if off.is_finite() => off,
        _ => f32::INFINITY,
    };
    found.iter().zip(expected).map(off).fold(0.0, f32::max) / largest
}
