//! Rejects pictures with too few pixels to see a face.

use maskline_messages::{Measurements, Reason};

use crate::limits::LimitArgs;

pub(crate) fn check(picture: &Measurements, limits: &LimitArgs) -> Option<Reason> {
    let (width, height) = (picture.width, picture.height);
    (width.min(height) < limits.min_side).then_some(Reason::TooSmall {
        width,
        height,
        least: limits.min_side,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::good;

    #[test]
    fn the_shorter_side_decides() {
        let limits = LimitArgs {
            min_side: 32,
            ..LimitArgs::DEFAULT
        };
        let sized = |width, height| Measurements {
            width,
            height,
            ..good()
        };
        assert_eq!(check(&sized(32, 90), &limits), None);
        let expected = Reason::TooSmall {
            width: 90,
            height: 31,
            least: 32,
        };
        assert_eq!(check(&sized(90, 31), &limits), Some(expected));
    }
}
