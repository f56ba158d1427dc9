//! Loops that are compiled twice: for any processor, and for those with AVX2 and FMA.

/// The number of values that are computed at once: a 256-bit register of `f32`.
pub const LANES: usize = 8;

/// The values that are computed at once.
pub type Lanes = [f32; LANES];

/// A loop to compile for more than one instruction set.
///
/// `run` and all that it calls must be `#[inline(always)]`: a function that is
/// called, not inlined, is compiled for the oldest processor.
pub trait SimdLoop {
    type Output;

    /// Runs the loop. `FMA` says whether [`fma`] is one instruction.
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// Runs the loop as it was compiled for this processor.
pub fn vectorized<L: SimdLoop>(simd_loop: L) -> L::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn avx2<L: SimdLoop>(simd_loop: L) -> L::Output {
            simd_loop.run::<true>()
        }

        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has both features, as was just checked.
            return unsafe { avx2(simd_loop) };
        }
    }
    simd_loop.run::<{ cfg!(target_arch = "aarch64") }>()
}

/// `a · b + c`. `mul_add` is used only where it is one instruction, because it is a
/// slow library call elsewhere.
#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `sum += a · b` in every lane.
#[inline(always)]
pub fn accumulate<const FMA: bool>(sum: &mut Lanes, a: &Lanes, b: &Lanes) {
    for lane in 0..LANES {
        sum[lane] = fma::<FMA>(a[lane], b[lane], sum[lane]);
    }
}
