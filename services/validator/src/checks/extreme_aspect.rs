//! Rejects banners and strips, which show nothing once they are squeezed to a square.

use maskline_messages::{Measurements, Reason};

use crate::limits::LimitArgs;

pub(crate) fn check(picture: &Measurements, limits: &LimitArgs) -> Option<Reason> {
    let (width, height) = (picture.width, picture.height);
    let (longer, shorter) = (width.max(height), width.min(height));
    let is_extreme = longer as f32 > shorter as f32 * limits.max_aspect;
    is_extreme.then_some(Reason::ExtremeAspect {
        width,
        height,
        most: limits.max_aspect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::good;

    #[test]
    fn either_side_may_be_the_longer() {
        let limits = LimitArgs {
            max_aspect: 4.0,
            ..LimitArgs::DEFAULT
        };
        let code = |width, height| {
            let picture = Measurements {
                width,
                height,
                ..good()
            };
            check(&picture, &limits).map(|reason| reason.code())
        };
        assert_eq!(code(400, 100), None);
        assert_eq!(code(401, 100), Some("extreme_aspect"));
        assert_eq!(code(100, 401), Some("extreme_aspect"));
    }
}
