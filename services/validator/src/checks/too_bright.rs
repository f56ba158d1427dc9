//! Rejects overexposed pictures.

use maskline_messages::{Measurements, Reason};

use crate::limits::LimitArgs;

pub(crate) fn check(picture: &Measurements, limits: &LimitArgs) -> Option<Reason> {
    (picture.brightness > limits.max_brightness).then_some(Reason::TooBright {
        brightness: picture.brightness,
        most: limits.max_brightness,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::good;

    #[test]
    fn the_mean_of_luma_decides() {
        let limits = LimitArgs {
            max_brightness: 0.9,
            ..LimitArgs::DEFAULT
        };
        let lit = |brightness| Measurements {
            brightness,
            ..good()
        };
        assert_eq!(check(&lit(0.9), &limits), None);
        let expected = Reason::TooBright {
            brightness: 0.91,
            most: 0.9,
        };
        assert_eq!(check(&lit(0.91), &limits), Some(expected));
    }
}
