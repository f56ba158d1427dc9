//! The activation functions and their slopes, on tensors and on single values.

use burn::tensor::{Tensor, activation};

/// What follows a batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    None,
    Relu,
    Relu6,
    HardSwish,
    Silu,
}

impl Activation {
    /// With Burn's own operations.
    pub fn forward<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::None => input,
            Self::Relu => activation::relu(input),
            Self::Relu6 => activation::relu6(input),
            Self::HardSwish => activation::hard_swish(input),
            Self::Silu => activation::silu(input),
        }
    }
}

/// What weighs the channels in squeeze-and-excitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Sigmoid,
    HardSigmoid,
}

impl Gate {
    /// With Burn's own operations.
    pub fn forward<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Sigmoid => activation::sigmoid(input),
            Self::HardSigmoid => activation::hard_sigmoid(input, 1.0 / 6.0, 0.5),
        }
    }
}

/// A function of one value, for loops that are compiled once for each function.
pub trait Curve {
    fn value(z: f32) -> f32;
    /// The derivative; where there is none, PyTorch's choice.
    fn slope(z: f32) -> f32;
}

pub struct Identity;
pub struct Relu;
pub struct Relu6;
pub struct HardSwish;
pub struct Silu;
pub struct Sigmoid;
pub struct HardSigmoid;

impl Curve for Identity {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z
    }
    #[inline(always)]
    fn slope(_: f32) -> f32 {
        1.0
    }
}

impl Curve for Relu {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z.max(0.0)
    }
    #[inline(always)]
    fn slope(z: f32) -> f32 {
        if z > 0.0 { 1.0 } else { 0.0 }
    }
}

impl Curve for Relu6 {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z.clamp(0.0, 6.0)
    }
    #[inline(always)]
    fn slope(z: f32) -> f32 {
        if z > 0.0 && z < 6.0 { 1.0 } else { 0.0 }
    }
}

impl Curve for HardSwish {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z * HardSigmoid::value(z)
    }
    #[inline(always)]
    fn slope(z: f32) -> f32 {
        let between = z * (1.0 / 3.0) + 0.5;
        let upper = if z < 3.0 { between } else { 1.0 };
        if z > -3.0 { upper } else { 0.0 }
    }
}

impl Curve for Silu {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z * Sigmoid::value(z)
    }
    #[inline(always)]
    fn slope(z: f32) -> f32 {
        let gate = Sigmoid::value(z);
        gate * (1.0 + z * (1.0 - gate))
    }
}

impl Curve for Sigmoid {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        1.0 / (1.0 + exp(-z))
    }
    #[inline(always)]
    fn slope(z: f32) -> f32 {
        let gate = Self::value(z);
        gate * (1.0 - gate)
    }
}

impl Curve for HardSigmoid {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        (z + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0)
    }
    #[inline(always)]
    fn slope(z: f32) -> f32 {
        if z > -3.0 && z < 3.0 { 1.0 / 6.0 } else { 0.0 }
    }
}

/// eˣ to two units in the last place, without a branch or a call so that it
/// vectorizes: 2ⁿ · eʳ with r within ±ln 2 / 2, by a polynomial (Cephes' `expf`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding it leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 0.166_666_66;
    p = p * r + 0.5;
    let mantissa = p * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    mantissa * power
}

/// Runs an expression with a type name bound to the [`Curve`] of an [`Activation`].
macro_rules! with_activation {
    ($activation:expr, $curve:ident => $body:expr) => {{
        use $crate::ops::activation::{self as curves, Activation};
        match $activation {
            Activation::None => {
                type $curve = curves::Identity;
                $body
            }
            Activation::Relu => {
                type $curve = curves::Relu;
                $body
            }
            Activation::Relu6 => {
                type $curve = curves::Relu6;
                $body
            }
            Activation::HardSwish => {
                type $curve = curves::HardSwish;
                $body
            }
            Activation::Silu => {
                type $curve = curves::Silu;
                $body
            }
        }
    }};
}

/// Runs an expression with a type name bound to the [`Curve`] of a [`Gate`].
macro_rules! with_gate {
    ($gate:expr, $curve:ident => $body:expr) => {{
        use $crate::ops::activation::{self as curves, Gate};
        match $gate {
            Gate::Sigmoid => {
                type $curve = curves::Sigmoid;
                $body
            }
            Gate::HardSigmoid => {
                type $curve = curves::HardSigmoid;
                $body
            }
        }
    }};
}

pub(crate) use {with_activation, with_gate};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_a_few_units_in_the_last_place() {
        for step in -8600..8700 {
            let x = step as f32 / 100.0;
            let right = f64::from(x).exp();
            let error = (f64::from(exp(x)) - right).abs() / right;
            assert!(error < 3e-7, "exp({x}) is off by {error:e} of its value");
        }
    }

    #[test]
    fn beyond_its_range_exp_stays_finite() {
        assert!(exp(f32::MAX).is_finite());
        assert!(exp(f32::MIN) >= 0.0);
        assert_eq!(Sigmoid::value(-200.0) + Sigmoid::value(200.0), 1.0);
    }

    #[test]
    fn slopes_are_the_derivatives() {
        fn check<C: Curve>(name: &str) {
            // Points away from the corners.
            for z in [
                -7.1f32, -3.5, -2.9, -1.0, -0.3, 0.4, 1.7, 2.8, 3.2, 5.9, 6.3,
            ] {
                let h = 1e-2;
                let difference = (C::value(z + h) - C::value(z - h)) / (2.0 * h);
                let slope = C::slope(z);
                assert!(
                    (difference - slope).abs() < 2e-3,
                    "{name} at {z}: {slope}, not {difference}"
                );
            }
        }
        check::<Identity>("identity");
        check::<Relu>("relu");
        check::<Relu6>("relu6");
        check::<HardSwish>("hard swish");
        check::<Silu>("silu");
        check::<Sigmoid>("sigmoid");
        check::<HardSigmoid>("hard sigmoid");
    }
}
