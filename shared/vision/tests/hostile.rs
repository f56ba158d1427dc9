//! Small files that ask for much, and files of which decoders make something else than what
//! they show.

mod common;
#[path = "pillow/tiff.rs"]
mod tiff;

use std::io::{Cursor, Write};

use flate2::{Compression, write::ZlibEncoder};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use moxcms::ColorProfile;
use proptest::prelude::*;

use common::{code, decoded, distance, refused};
use tiff::Tiff;

fn picture() -> RgbImage {
    RgbImage::from_fn(60, 44, |x, y| Rgb([x as u8 * 4, y as u8 * 5, 120]))
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A chunk of a PNG.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [kind, data].concat();
    let crc = named.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    });
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], &named, &(!crc).to_be_bytes()].concat()
}

/// A PNG with a chunk behind its header.
fn png_with(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let png = encoded(picture(), ImageFormat::Png);
    [&png[..33], &chunk(kind, data), &png[33..]].concat()
}

/// A PNG with an ICC profile.
fn profiled(profile: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(vec![], Compression::fast());
    encoder.write_all(profile).unwrap();
    png_with(
        b"iCCP",
        &[b"a name\0\0", &encoder.finish().unwrap()[..]].concat(),
    )
}

#[test]
fn a_profile_of_too_many_bytes_is_ignored() {
    let adobe = ColorProfile::new_adobe_rgb().encode().unwrap();
    assert_ne!(decoded(&profiled(&adobe)).picture, picture());
    let mut long = adobe;
    long.resize(200 << 20, 0);
    assert_eq!(decoded(&profiled(&long)).picture, picture());
}

#[test]
fn colours_of_a_profile_become_srgb() {
    // To linear light, by a matrix to sRGB's primaries, and back.
    let converted = |to_linear: fn(f64) -> f64, matrix: [[f64; 3]; 3]| {
        let mut converted = picture();
        for pixel in converted.pixels_mut() {
            let linear = pixel.0.map(|channel| to_linear(f64::from(channel) / 255.0));
            pixel.0 = matrix.map(|row| {
                let light: f64 = row.iter().zip(linear).map(|(a, b)| a * b).sum();
                let light = light.clamp(0.0, 1.0);
                let channel = if light <= 0.003_130_8 {
                    12.92 * light
                } else {
                    1.055 * light.powf(1.0 / 2.4) - 0.055
                };
                (channel * 255.0).round() as u8
            });
        }
        converted
    };
    let srgb = |channel: f64| {
        if channel <= 0.04045 {
            channel / 12.92
        } else {
            ((channel + 0.055) / 1.055).powf(2.4)
        }
    };
    let p3 = converted(
        srgb,
        [
            [1.224_940, -0.224_940, 0.0],
            [-0.042_057, 1.042_057, 0.0],
            [-0.019_638, -0.078_636, 1.098_274],
        ],
    );
    let adobe = converted(
        |channel| channel.powf(563.0 / 256.0),
        [
            [1.398_36, -0.398_36, 0.0],
            [0.0, 1.0, 0.0],
            [0.0, -0.042_93, 1.042_93],
        ],
    );
    for (profile, expected) in [
        (ColorProfile::new_display_p3(), p3),
        (ColorProfile::new_adobe_rgb(), adobe),
    ] {
        let profile = profile.encode().unwrap();
        let decoded = decoded(&profiled(&profile)).picture;
        assert!(distance(&picture(), &expected) > 5.0, "the profile matters");
        let distance = distance(&decoded, &expected);
        assert!(distance < 1.0, "{distance}");
    }
    let srgb = ColorProfile::new_srgb().encode().unwrap();
    assert_eq!(decoded(&profiled(&srgb)).picture, picture());
}

#[test]
fn a_profile_of_other_colours_is_ignored() {
    let grey = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
    assert_eq!(decoded(&profiled(&grey)).picture, picture());
}

proptest! {
    #[test]
    fn a_damaged_profile_never_loses_the_picture(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut profile = ColorProfile::new_adobe_rgb().encode().unwrap();
        for (at, value) in changes {
            let at = at.index(profile.len());
            profile[at] = value;
        }
        if cut {
            profile.truncate(end.index(profile.len()));
        }
        prop_assert_eq!(code(&profiled(&profile)), "accepted");
    }
}

#[test]
fn a_profile_of_a_jpeg_is_put_together_from_its_parts() {
    let mut profile = ColorProfile::new_display_p3().encode().unwrap();
    // More bytes than a segment may have.
    profile.resize(150_000, 0);
    let file = |parts: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut segments: Vec<_> = profile
            .chunks(60_000)
            .enumerate()
            .map(|(at, part)| [b"ICC_PROFILE\0", &[at as u8 + 1, 3][..], part].concat())
            .collect();
        parts(&mut segments);
        let mut jpeg = vec![];
        let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, 95);
        for segment in segments {
            encoder.add_app_segment(2, segment).unwrap();
        }
        encoder
            .encode(picture().as_raw(), 60, 44, jpeg_encoder::ColorType::Rgb)
            .unwrap();
        decoded(&jpeg).picture
    };
    let plain = file(&|parts| parts.clear());
    let whole = file(&|_| {});
    assert!(distance(&whole, &plain) > 5.0);
    assert_eq!(file(&|parts| parts.swap(0, 2)), whole);
    assert_eq!(file(&|parts| drop(parts.pop())), plain);
    assert_eq!(file(&|parts| parts.push(parts[0].clone())), plain);
}

#[test]
fn a_bitmap_whose_pixels_are_all_clear_is_opaque() {
    // The header of a bitmap of 32 bits a pixel with masks (BITMAPV4HEADER).
    let bitmap = |alpha: u8, alpha_mask: u32| {
        let picture = picture();
        let mut file = b"BM\0\0\0\0\0\0\0\0\x7A\0\0\0".to_vec();
        for number in [108, 60, 44, 1 | 32 << 16, 3, 0, 2835, 2835, 0, 0] {
            file.extend(u32::to_le_bytes(number));
        }
        for mask in [0x00FF_0000, 0xFF00, 0xFF, alpha_mask] {
            file.extend(u32::to_le_bytes(mask));
        }
        file.extend(b"BGRs");
        file.resize(14 + 108, 0);
        // The last row comes first.
        for row in picture.rows().rev() {
            for Rgb([r, g, b]) in row {
                file.extend([*b, *g, *r, alpha]);
            }
        }
        file
    };
    assert_eq!(decoded(&bitmap(0, 0xFF00_0000)).picture, picture());
    assert_eq!(decoded(&bitmap(0, 0)).picture, picture());
    assert_eq!(decoded(&bitmap(255, 0xFF00_0000)).picture, picture());
    let white = decoded(&bitmap(1, 0xFF00_0000)).picture;
    assert!(white.pixels().all(|pixel| pixel.0 >= [254; 3]));
    // In other formats, clear pixels are meant.
    let clear = RgbaImage::from_pixel(8, 8, Rgba([9, 9, 9, 0]));
    let clear = decoded(&encoded(clear, ImageFormat::Png)).picture;
    assert!(clear.pixels().all(|pixel| pixel.0 == [255; 3]));
}

#[test]
fn what_is_not_read_is_named() {
    let png = encoded(picture(), ImageFormat::Png);
    let xcode = [&png[..8], &chunk(b"CgBI", &[0x50, 0, 0x20, 2]), &png[8..]].concat();
    assert_eq!(
        refused(&xcode),
        "PNG as Xcode writes it (CgBI) is not supported"
    );
    let layout = Tiff {
        colors: 3,
        ..Tiff::default()
    };
    assert_eq!(
        refused(&layout.write(&picture())),
        "TIFF with a palette is not supported"
    );
    let planar = Tiff {
        colors: 5,
        planar: true,
        ..Tiff::default()
    };
    let reason = refused(&planar.write(&picture()));
    assert_eq!(reason.matches("not supported").count(), 1, "{reason}");
    let tiled = Tiff {
        colors: 2,
        planar: true,
        tiles: Some((48, 16)),
        ..Tiff::default()
    };
    assert_eq!(
        refused(&tiled.write(&picture())),
        "TIFF of tiles in planes is not supported"
    );
    for (big, big_endian) in [(false, true), (true, false), (true, true)] {
        let layout = Tiff {
            colors: 2,
            big,
            big_endian,
            ..Tiff::default()
        };
        assert_eq!(decoded(&layout.write(&picture())).picture, picture());
    }
}

#[test]
fn a_tiff_of_other_formats_is_refused_by_name() {
    let layout = Tiff {
        colors: 2,
        ..Tiff::default()
    };
    let mut file = layout.write(&picture());
    for (method, name) in [
        (6, "TIFF of JPEGs as in its version 6"),
        (50_001, "TIFF of compression WebP"),
        (50_000, "TIFF of compression ZSTD"),
    ] {
        set_tag(&mut file, 259, method);
        assert_eq!(refused(&file), format!("{name} is not supported"));
    }
}

/// Changes a number in the directory of a little-endian TIFF.
fn set_tag(file: &mut [u8], tag: u16, value: u32) {
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let directory = number(4) as usize;
    let entries = usize::from(file[directory]);
    let entry = (0..entries)
        .map(|entry| directory + 2 + entry * 12)
        .find(|&at| file[at..at + 2] == tag.to_le_bytes())
        .unwrap();
    file[entry + 8..entry + 12].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn tiles_far_larger_than_the_picture_are_refused() {
    let layout = Tiff {
        colors: 2,
        deflated: true,
        tiles: Some((64, 64)),
        ..Tiff::default()
    };
    let mut file = layout.write(&picture());
    assert_eq!(code(&file), "accepted");
    set_tag(&mut file, 322, 1 << 28);
    assert_eq!(refused(&file), "268435456x64, 25000000 pixels at most");
}

#[test]
fn a_frame_of_another_size_than_its_picture_is_refused_before_it_is_decoded() {
    // The header of a lossy frame of 16,383 × 16,383 pixels, in a picture of 64 × 64.
    let mut frame = b"\x10\xDC\xFF\x9D\x01\x2A\xFF\x3F\xFF\x3F".to_vec();
    frame.resize(4000, 0xAB);
    let mut file = b"RIFF\0\0\0\0WEBPVP8X\x0A\0\0\0\0\0\0\0\x3F\0\0\x3F\0\0VP8 ".to_vec();
    file.extend((frame.len() as u32).to_le_bytes());
    file.extend(frame);
    let size = file.len() as u32 - 8;
    file[4..8].copy_from_slice(&size.to_le_bytes());
    assert_eq!(
        refused(&file),
        "can't be decoded: a frame of (16383, 16383) pixels in a picture of (64, 64)"
    );
}
