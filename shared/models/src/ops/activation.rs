//! The activation functions, on tensors and, with their derivatives, on single values.

use burn::tensor::{Tensor, activation};

/// The activation that follows a batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    None,
    Relu,
    Relu6,
    HardSwish,
    Silu,
}

impl Activation {
    /// Applies the function with Burn's operations.
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

/// The function whose values the channels are multiplied by in squeeze-and-excitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    Sigmoid,
    HardSigmoid,
}

impl Gate {
    /// Applies the function with Burn's operations.
    pub fn forward<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Sigmoid => activation::sigmoid(input),
            Self::HardSigmoid => activation::hard_sigmoid(input, 1.0 / 6.0, 0.5),
        }
    }
}

/// A function of one value, as a type, so that a loop is compiled once for each
/// function.
pub trait ScalarFunction {
    fn value(z: f32) -> f32;
    /// The derivative, or PyTorch's choice at points that have none.
    fn derivative(z: f32) -> f32;
}

pub struct Identity;
pub struct Relu;
pub struct Relu6;
pub struct HardSwish;
pub struct Silu;
pub struct Sigmoid;
pub struct HardSigmoid;

impl ScalarFunction for Identity {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z
    }
    #[inline(always)]
    fn derivative(_: f32) -> f32 {
        1.0
    }
}

impl ScalarFunction for Relu {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z.max(0.0)
    }
    #[inline(always)]
    fn derivative(z: f32) -> f32 {
        if z > 0.0 { 1.0 } else { 0.0 }
    }
}

impl ScalarFunction for Relu6 {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z.clamp(0.0, 6.0)
    }
    #[inline(always)]
    fn derivative(z: f32) -> f32 {
        if z > 0.0 && z < 6.0 { 1.0 } else { 0.0 }
    }
}

impl ScalarFunction for HardSwish {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z * HardSigmoid::value(z)
    }
    #[inline(always)]
    fn derivative(z: f32) -> f32 {
        let between = z * (1.0 / 3.0) + 0.5;
        let upper = if z < 3.0 { between } else { 1.0 };
        if z > -3.0 { upper } else { 0.0 }
    }
}

impl ScalarFunction for Silu {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        z * Sigmoid::value(z)
    }
    #[inline(always)]
    fn derivative(z: f32) -> f32 {
        let gate = Sigmoid::value(z);
        gate * (1.0 + z * (1.0 - gate))
    }
}

impl ScalarFunction for Sigmoid {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        1.0 / (1.0 + exp(-z))
    }
    #[inline(always)]
    fn derivative(z: f32) -> f32 {
        let gate = Self::value(z);
        gate * (1.0 - gate)
    }
}

impl ScalarFunction for HardSigmoid {
    #[inline(always)]
    fn value(z: f32) -> f32 {
        (z + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0)
    }
    #[inline(always)]
    fn derivative(z: f32) -> f32 {
        if z > -3.0 && z < 3.0 { 1.0 / 6.0 } else { 0.0 }
    }
}

/// eˣ to two units in the last place. It has no branch and no call, so that it
/// vectorizes: it is 2ⁿ · eʳ with r within ±ln 2 / 2, and eʳ is a polynomial (that of
/// Cephes' `expf`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding this number leaves the nearest integer in the low bits of the sum.
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

/// Runs an expression with a type name bound to the [`ScalarFunction`] that belongs to
/// the variant of an enum.
macro_rules! with_function {
    ($choice:expr, $function:ident => $body:expr, $enum:ident { $($variant:ident: $type:ident),* }) => {{
        use $crate::ops::activation as functions;
        match $choice {
            $(functions::$enum::$variant => {
                type $function = functions::$type;
                $body
            })*
        }
    }};
}

/// Runs an expression with a type name bound to the [`ScalarFunction`] of an
/// [`Activation`].
macro_rules! with_activation {
    ($activation:expr, $function:ident => $body:expr) => {
        $crate::ops::activation::with_function!($activation, $function => $body,
            Activation { None: Identity, Relu: Relu, Relu6: Relu6, HardSwish: HardSwish, Silu: Silu })
    };
}

/// Runs an expression with a type name bound to the [`ScalarFunction`] of a [`Gate`].
macro_rules! with_gate {
    ($gate:expr, $function:ident => $body:expr) => {
        $crate::ops::activation::with_function!($gate, $function => $body,
            Gate { Sigmoid: Sigmoid, HardSigmoid: HardSigmoid })
    };
}

pub(crate) use {with_activation, with_function, with_gate};

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
    fn derivatives_are_the_limits_of_difference_quotients() {
        fn check<F: ScalarFunction>(name: &str) {
            // These points lie away from the corners of the functions.
            for z in [
                -7.1f32, -3.5, -2.9, -1.0, -0.3, 0.4, 1.7, 2.8, 3.2, 5.9, 6.3,
            ] {
                let h = 1e-2;
                let difference = (F::value(z + h) - F::value(z - h)) / (2.0 * h);
                let derivative = F::derivative(z);
                assert!(
                    (difference - derivative).abs() < 2e-3,
                    "{name} at {z}: {derivative}, not {difference}"
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
