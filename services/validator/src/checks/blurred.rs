//! Rejects pictures without a sharp edge at working size.

use maskline_messages::{Measurements, Reason};

use crate::limits::LimitArgs;

pub(crate) fn check(picture: &Measurements, limits: &LimitArgs) -> Option<Reason> {
    (picture.sharpness < limits.min_sharpness).then_some(Reason::Blurred {
        sharpness: picture.sharpness,
        least: limits.min_sharpness,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::good;

    #[test]
    fn the_variance_of_the_laplacian_decides() {
        let limits = LimitArgs {
            min_sharpness: 20.0,
            ..LimitArgs::DEFAULT
        };
        let focused = |sharpness| Measurements {
            sharpness,
            ..good()
        };
        assert_eq!(check(&focused(20.0), &limits), None);
        let expected = Reason::Blurred {
            sharpness: 19.0,
            least: 20.0,
        };
        assert_eq!(check(&focused(19.0), &limits), Some(expected));
    }
}
