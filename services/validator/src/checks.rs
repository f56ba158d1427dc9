//! What makes a decoded picture unfit, one file for each check. That a picture is
//! too large is checked before it is decoded, by
//! [`maskline_vision::Limits`].

mod blank;
mod blurred;
mod extreme_aspect;
mod too_bright;
mod too_dark;
mod too_small;

use maskline_messages::{Measurements, Reason};

use crate::LimitArgs;

/// The reason why a picture is unfit, if it is by this check.
pub type Check = fn(&Measurements, &LimitArgs) -> Option<Reason>;

/// All checks. The first that finds a reason decides.
pub const ALL: &[Check] = &[
    extreme_aspect::check,
    too_small::check,
    too_dark::check,
    too_bright::check,
    blank::check,
    blurred::check,
];

/// The first check's reason, if there is one.
pub fn first_reason(picture: &Measurements, limits: &LimitArgs) -> Option<Reason> {
    ALL.iter().find_map(|check| check(picture, limits))
}

#[cfg(test)]
mod tests {
    use maskline_messages::Format;

    use super::*;

    /// What a good photograph measures.
    pub fn good() -> Measurements {
        Measurements {
            format: Format::Jpeg,
            width: 300,
            height: 400,
            phash: 0,
            phash_mirrored: 0,
            brightness: 0.5,
            contrast: 0.2,
            sharpness: 800.0,
        }
    }

    #[test]
    fn a_good_picture_passes_all() {
        assert_eq!(first_reason(&good(), &LimitArgs::DEFAULT), None);
    }

    #[test]
    fn a_black_picture_is_dark_before_it_is_blank_or_blurred() {
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
