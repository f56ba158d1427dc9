//! Rejects pictures that are too dark to see a face.

use maskline_messages::{Measurements, Reason};

use crate::limits::LimitArgs;

pub(crate) fn check(picture: &Measurements, limits: &LimitArgs) -> Option<Reason> {
    (picture.brightness < limits.min_brightness).then_some(Reason::TooDark {
        brightness: picture.brightness,
        least: limits.min_brightness,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::good;

    #[test]
    fn the_mean_of_luma_decides() {
        let limits = LimitArgs {
            min_brightness: 0.1,
            ..LimitArgs::DEFAULT
        };
        let lit = |brightness| Measurements {
            brightness,
            ..good()
        };
        assert_eq!(check(&lit(0.1), &limits), None);
        let expected = Reason::TooDark {
            brightness: 0.09,
            least: 0.1,
        };
        assert_eq!(check(&lit(0.09), &limits), Some(expected));
    }
}
