//! Converts pixels from the colour space of an ICC profile to sRGB.
//!
//! As in browsers, a profile that is damaged, or is one of other colours than the picture
//! has, is ignored.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use image::ColorType;
use moxcms::{
    ColorProfile, DataColorSpace, Layout, ParsingOptions, Transform8BitExecutor, TransformOptions,
};

/// The most bytes of a profile. The largest in use, those of printers, have three million.
pub const MAX_BYTES: usize = 4 << 20;

/// The number of pixels that are converted at once, in a copy.
const AT_ONCE: usize = 4096;

/// The steps of each channel in the colours by which a profile is compared with sRGB.
const STEP: usize = 51;

/// The conversion from a profile's colour space to sRGB.
pub struct Profile(Arc<Transform8BitExecutor>);

/// Converts pixels of 8 bits a channel to sRGB, in place. Alpha stays as it is.
pub fn to_srgb(pixels: &mut [u8], color: ColorType, profile: &[u8]) {
    match color {
        ColorType::Rgb8 => {
            if let Some(profile) = Profile::of_rgb(profile, Layout::Rgb) {
                profile.convert_in_place(pixels, 3);
            }
        }
        ColorType::Rgba8 => {
            if let Some(profile) = Profile::of_rgb(profile, Layout::Rgba) {
                profile.convert_in_place(pixels, 4);
            }
        }
        ColorType::L8 | ColorType::La8 => {
            let channels = usize::from(color.channel_count());
            if let Some(shades) = shades(profile) {
                pixels
                    .iter_mut()
                    .step_by(channels)
                    .for_each(|grey| *grey = shades[usize::from(*grey)]);
            }
        }
        _ => {}
    }
}

/// The shade of grey in sRGB for each one in the profile.
fn shades(profile: &[u8]) -> Option<[u8; 256]> {
    let profile = Profile::new(profile, DataColorSpace::Gray, Layout::Gray, Layout::Rgb)?;
    let greys: Vec<u8> = (0..=255).collect();
    let mut rgb = [0; 256 * 3];
    profile.convert(&greys, &mut rgb);
    Some(std::array::from_fn(|grey| rgb[grey * 3 + 1]))
}

impl Profile {
    /// The profile of pictures in CMYK.
    pub fn of_cmyk(profile: &[u8]) -> Option<Self> {
        Self::new(profile, DataColorSpace::Cmyk, Layout::Rgba, Layout::Rgb)
    }

    /// The profile of pictures in RGB, unless it is sRGB.
    fn of_rgb(bytes: &[u8], layout: Layout) -> Option<Self> {
        let probe = Self::new(bytes, DataColorSpace::Rgb, Layout::Rgb, Layout::Rgb)?;
        let shades = || (0..=255).step_by(STEP);
        let colors: Vec<u8> = shades()
            .flat_map(|r| shades().flat_map(move |g| shades().flat_map(move |b| [r, g, b])))
            .collect();
        let mut converted = vec![0; colors.len()];
        probe.convert(&colors, &mut converted);
        let mut pairs = colors.iter().zip(&converted);
        if pairs.all(|(before, after)| before.abs_diff(*after) <= 1) {
            return None;
        }
        match layout {
            Layout::Rgb => Some(probe),
            _ => Self::new(bytes, DataColorSpace::Rgb, layout, layout),
        }
    }

    fn new(bytes: &[u8], colors: DataColorSpace, from: Layout, to: Layout) -> Option<Self> {
        if bytes.len() > MAX_BYTES {
            return None;
        }
        let options = ParsingOptions {
            max_profile_size: MAX_BYTES,
            ..ParsingOptions::default()
        };
        let transform = || {
            let profile = ColorProfile::new_from_slice_with_options(bytes, options).ok()?;
            if profile.color_space != colors {
                return None;
            }
            let srgb = ColorProfile::new_srgb();
            profile
                .create_transform_8bit(from, &srgb, to, TransformOptions::default())
                .ok()
        };
        // A panic on a damaged profile is no reason to lose the picture.
        let transform = catch_unwind(AssertUnwindSafe(transform)).ok().flatten()?;
        Some(Self(transform))
    }

    fn convert(&self, from: &[u8], to: &mut [u8]) {
        self.0
            .transform(from, to)
            .expect("as many pixels in as out");
    }

    fn convert_in_place(&self, pixels: &mut [u8], channels: usize) {
        let mut copy = vec![0; AT_ONCE * channels];
        for pixels in pixels.chunks_mut(AT_ONCE * channels) {
            let copy = &mut copy[..pixels.len()];
            copy.copy_from_slice(pixels);
            self.convert(copy, pixels);
        }
    }

    /// Converts CMYK in which 0 is full ink to RGB.
    pub fn convert_inverted_cmyk(&self, cmyk: &[u8], rgb: &mut [u8]) {
        let inks: Vec<u8> = cmyk.iter().map(|ink| 255 - ink).collect();
        self.convert(&inks, rgb);
    }
}
