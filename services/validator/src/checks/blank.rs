//! Rejects pictures of one colour, or nearly one.

use maskline_messages::{Measurements, Reason};

use crate::limits::LimitArgs;

pub(crate) fn check(picture: &Measurements, limits: &LimitArgs) -> Option<Reason> {
    (picture.contrast < limits.min_contrast).then_some(Reason::Blank {
        deviation: picture.contrast,
        least: limits.min_contrast,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::good;

    #[test]
    fn the_deviation_of_luma_decides() {
        let limits = LimitArgs {
            min_contrast: 0.02,
            ..LimitArgs::DEFAULT
        };
        let varied = |contrast| Measurements { contrast, ..good() };
        assert_eq!(check(&varied(0.02), &limits), None);
        let expected = Reason::Blank {
            deviation: 0.01,
            least: 0.02,
        };
        assert_eq!(check(&varied(0.01), &limits), Some(expected));
    }
}
