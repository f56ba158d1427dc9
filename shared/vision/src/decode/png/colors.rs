//! The colours that the chunks of a PNG describe without an ICC profile, as such a profile
//! (PNG, third edition, 4.3).

use maskline_messages::Reason;
use moxcms::{
    Chromaticity, CicpProfile, ColorPrimaries, ColorProfile, MatrixCoefficients, ToneReprCurve,
};
use png::{Info, ScaledFloat};

/// The code points of the transfer functions of high dynamic range: PQ and HLG.
const HIGH_RANGE: [u8; 2] = [16, 18];

/// Refuses pictures whose values have no counterpart in sRGB.
pub fn check(info: &Info) -> Result<(), Reason> {
    let Some(points) = info.coding_independent_code_points else {
        return Ok(());
    };
    let range = match HIGH_RANGE.contains(&points.transfer_function) {
        true => "PNG of high dynamic range",
        false if !points.is_video_full_range_image => "PNG of narrow range",
        false => return Ok(()),
    };
    Err(Reason::Unsupported {
        format: range.to_owned(),
    })
}

/// The profile that code points name. It goes before one that the file contains.
pub fn by_code_points(info: &Info) -> Option<Vec<u8>> {
    let points = info.coding_independent_code_points?;
    let profile = ColorProfile::new_from_cicp(CicpProfile {
        color_primaries: points.color_primaries.try_into().ok()?,
        transfer_characteristics: points.transfer_function.try_into().ok()?,
        matrix_coefficients: MatrixCoefficients::Identity,
        full_range: true,
    });
    encoded(profile, info)
}

/// The profile by gamma and primaries, unless the file says that it is sRGB.
pub fn by_gamma(info: &Info) -> Option<Vec<u8>> {
    let gamma = info.gama_chunk.filter(|_| info.srgb.is_none())?;
    let mut profile = ColorProfile::new_srgb();
    profile.cicp = None;
    // The gamma nearest to the curve of sRGB means that curve.
    if (gamma.into_value() * 2.2 - 1.0).abs() > 0.05 {
        let curve = Some(ToneReprCurve::Parametric(vec![1.0 / gamma.into_value()]));
        profile.red_trc = curve.clone();
        profile.green_trc = curve.clone();
        profile.blue_trc = curve;
    }
    if let Some(points) = info.chrm_chunk {
        let point = |(x, y): (ScaledFloat, ScaledFloat)| Chromaticity {
            x: x.into_value(),
            y: y.into_value(),
        };
        let primaries = ColorPrimaries {
            red: point(points.red),
            green: point(points.green),
            blue: point(points.blue),
        };
        let mut described = profile.clone();
        described.update_rgb_colorimetry(point(points.white).to_xyyb(), primaries);
        // Whatever the primaries are, together they have the luminance of white.
        let luminance: f64 = described.colorant_matrix().v[1].iter().sum();
        if (luminance - 1.0).abs() < 0.01 {
            profile = described;
        }
    }
    encoded(profile, info)
}

/// The profile as a file. Grey pictures have only its curve.
fn encoded(mut profile: ColorProfile, info: &Info) -> Option<Vec<u8>> {
    use png::ColorType::{Grayscale, GrayscaleAlpha};
    let curve = profile.red_trc.clone()?;
    if matches!(info.color_type, Grayscale | GrayscaleAlpha) {
        profile = ColorProfile::new_gray_with_gamma(1.0);
        profile.gray_trc = Some(curve);
    }
    profile.encode().ok()
}
