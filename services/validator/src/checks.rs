//! The checks of a decoded picture, one file for each. Pictures that are too large are
//! refused before they are decoded, by [`maskline_vision::Limits`].

mod blank;
mod blurred;
mod extreme_aspect;
mod too_bright;
mod too_dark;
mod too_small;

use maskline_messages::{Measurements, Reason};

use crate::limits::LimitArgs;

/// A check of a picture's measurements. It returns a reason if the picture is unfit.
type Check = fn(&Measurements, &LimitArgs) -> Option<Reason>;

/// All checks in their order. The first that returns a reason decides.
const ALL: &[Check] = &[
    extreme_aspect::check,
    too_small::check,
    too_dark::check,
    too_bright::check,
    blank::check,
    blurred::check,
];

/// The reason of the first check that the picture does not pass.
pub(crate) fn first_reason(picture: &Measurements, limits: &LimitArgs) -> Option<Reason> {
    ALL.iter().find_map(|check| check(picture, limits))
}

#[cfg(test)]
mod tests {
    use maskline_messages::Format;

    use super::*;

    /// The measurements of a good photograph.
    pub(crate) fn good() -> Measurements {
        Measurements {
            format: Format::Jpeg,
            width: 300,
            height: 400,
            bytes: None,
            phash: 0,
            phash_mirrored: 0,
            brightness: 0.5,
            contrast: 0.2,
            sharpness: 800.0,
            faces: None,
            fingerprint: None,
        }
    }

    #[test]
    fn a_good_picture_passes_all_checks() {
        assert_eq!(first_reason(&good(), &LimitArgs::DEFAULT), None);
    }

    #[test]
    fn a_black_picture_is_rejected_as_dark_and_not_as_blank_or_blurred() {
        let black = Measurements {
            brightness: 0.0,
            contrast: 0.0,
            sharpness: 0.0,
            ..good()
        };
        let reason = first_reason(&black, &LimitArgs::DEFAULT).unwrap();
        assert_eq!(reason.code(), "too_dark");
    }
}
