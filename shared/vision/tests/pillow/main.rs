//! Pictures of all formats and layouts are decoded as by Pillow, or refused for a reason that
//! says what they are.

#[path = "../common/mod.rs"]
mod common;
#[path = "../layouts/scene.rs"]
mod scene;
mod tiff;
#[allow(dead_code, reason = "the other test needs more of it")]
#[path = "../layouts/writer.rs"]
mod writer;
mod written;

use std::{collections::BTreeMap, fs, io::Cursor};

use image::{
    DynamicImage, ImageEncoder, ImageFormat, RgbImage, RgbaImage,
    buffer::ConvertBuffer,
    codecs::{png::PngEncoder, webp::WebPEncoder},
};
use maskline_test_support::python;
use maskline_vision::{Limits, decode};
use moxcms::ColorProfile;

use common::distance;
use scene::Channels;
use tiff::Tiff;
use writer::{Layout, Process, Scan};

/// How far the two may be apart, in the mean of all channels.
const NEAR: f64 = 2.0;

/// The pictures, by name.
type Pictures = BTreeMap<String, Vec<u8>>;

fn scene() -> RgbImage {
    Channels::Rgb.picture(83, 59)
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// The scene behind a veil that is clear on the left.
fn veiled() -> RgbaImage {
    let mut picture: RgbaImage = scene().convert();
    for (x, _, pixel) in picture.enumerate_pixels_mut() {
        pixel[3] = (255 - x * 3) as u8;
    }
    picture
}

fn jpegs() -> Pictures {
    let mut files = Pictures::new();
    let kinds = [
        (Channels::Grey, vec![(1, 1)]),
        (Channels::Grey, vec![(2, 2)]),
        (Channels::YCbCr, vec![(1, 1); 3]),
        (Channels::YCbCr, vec![(2, 2), (1, 1), (1, 1)]),
        (Channels::YCbCr, vec![(2, 1), (1, 1), (1, 1)]),
        (Channels::YCbCr, vec![(1, 2), (1, 1), (1, 1)]),
        (Channels::YCbCr, vec![(4, 1), (1, 1), (1, 1)]),
        (Channels::YCbCr, vec![(4, 2), (1, 1), (1, 1)]),
        (Channels::YCbCr, vec![(1, 1), (2, 2), (2, 2)]),
        (Channels::YCbCr, vec![(2, 2), (2, 1), (1, 2)]),
        (Channels::Rgb, vec![(1, 1); 3]),
        (Channels::Cmyk, vec![(1, 1); 4]),
        (Channels::Ycck, vec![(2, 2), (1, 1), (1, 1), (2, 2)]),
    ];
    for (channels, sampling) in kinds {
        let name = format!("{channels:?} {sampling:?}");
        let count = channels.count();
        let together = Layout::interleaved(channels, &sampling);
        let mut apart = together.clone();
        apart.restart = 5;
        apart.scans = (0..count).rev().map(|c| Scan::sequential(&[c])).collect();
        let mut progressive = together.clone();
        progressive.process = Process::Progressive;
        let all: Vec<_> = (0..count).collect();
        progressive.scans = vec![Scan::progressive(&all, (0, 0), (0, 0))];
        for component in all {
            progressive
                .scans
                .push(Scan::progressive(&[component], (1, 63), (0, 1)));
            progressive
                .scans
                .push(Scan::progressive(&[component], (1, 63), (1, 0)));
        }
        files.insert(format!("{name} together.jpg"), together.write());
        files.insert(format!("{name} apart.jpg"), apart.write());
        files.insert(format!("{name} progressive.jpg"), progressive.write());
    }
    files
}

fn others() -> Pictures {
    let grey = DynamicImage::from(scene()).to_luma8();
    let faint: image::GrayAlphaImage = veiled().convert();
    let mut files = Pictures::new();
    let mut add = |name: &str, bytes| files.insert(name.to_owned(), bytes);
    for (name, format) in [
        ("png", ImageFormat::Png),
        ("webp", ImageFormat::WebP),
        ("bmp", ImageFormat::Bmp),
        ("gif", ImageFormat::Gif),
        ("tif", ImageFormat::Tiff),
    ] {
        add(&format!("rgb.{name}"), encoded(scene(), format));
    }
    add("grey.png", encoded(grey.clone(), ImageFormat::Png));
    add("grey.bmp", encoded(grey.clone(), ImageFormat::Bmp));
    add("grey.tif", encoded(grey, ImageFormat::Tiff));
    add("veiled.png", encoded(veiled(), ImageFormat::Png));
    add("veiled.webp", encoded(veiled(), ImageFormat::WebP));
    add("veiled.tif", encoded(veiled(), ImageFormat::Tiff));
    add("veiled.gif", encoded(veiled(), ImageFormat::Gif));
    add("veiled grey.png", encoded(faint, ImageFormat::Png));
    let layouts = [
        Tiff {
            colors: 2,
            ..Tiff::default()
        },
        Tiff {
            colors: 2,
            big_endian: true,
            deflated: true,
            ..Tiff::default()
        },
        Tiff {
            colors: 2,
            big: true,
            ..Tiff::default()
        },
        Tiff {
            colors: 2,
            big: true,
            deflated: true,
            ..Tiff::default()
        },
        Tiff {
            colors: 2,
            tiles: Some((32, 16)),
            ..Tiff::default()
        },
        Tiff {
            colors: 2,
            tiles: Some((128, 128)),
            deflated: true,
            ..Tiff::default()
        },
        Tiff {
            colors: 2,
            planar: true,
            ..Tiff::default()
        },
        Tiff {
            colors: 2,
            orientation: 6,
            ..Tiff::default()
        },
        Tiff {
            colors: 0,
            ..Tiff::default()
        },
        Tiff {
            colors: 1,
            deflated: true,
            ..Tiff::default()
        },
        Tiff {
            colors: 5,
            ..Tiff::default()
        },
        Tiff {
            colors: 5,
            tiles: Some((64, 64)),
            ..Tiff::default()
        },
    ];
    for (number, layout) in layouts.iter().enumerate() {
        add(&format!("layout {number}.tif"), layout.write(&scene()));
    }
    files
}

/// The scene in other colour spaces, by the formats that can say so.
fn profiled() -> Pictures {
    let mut files = Pictures::new();
    for (name, profile) in [
        ("adobe", ColorProfile::new_adobe_rgb()),
        ("p3", ColorProfile::new_display_p3()),
        ("prophoto", ColorProfile::new_pro_photo_rgb()),
        ("srgb", ColorProfile::new_srgb()),
    ] {
        let profile = profile.encode().unwrap();
        let picture = scene();
        let (width, height) = picture.dimensions();
        let (raw, rgb) = (picture.as_raw(), image::ExtendedColorType::Rgb8);
        let mut png = vec![];
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_icc_profile(profile.clone()).unwrap();
        encoder.write_image(raw, width, height, rgb).unwrap();
        files.insert(format!("{name}.png"), png);
        let mut webp = vec![];
        let mut encoder = WebPEncoder::new_lossless(&mut webp);
        encoder.set_icc_profile(profile.clone()).unwrap();
        encoder.write_image(raw, width, height, rgb).unwrap();
        files.insert(format!("{name}.webp"), webp);
        let mut jpeg = vec![];
        let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, 95);
        encoder.add_icc_profile(&profile).unwrap();
        let (width, height) = (width as u16, height as u16);
        encoder
            .encode(raw, width, height, jpeg_encoder::ColorType::Rgb)
            .unwrap();
        files.insert(format!("{name}.jpg"), jpeg);
        let veil = veiled();
        let mut png = vec![];
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_icc_profile(profile).unwrap();
        let rgba = image::ExtendedColorType::Rgba8;
        encoder
            .write_image(veil.as_raw(), width.into(), height.into(), rgba)
            .unwrap();
        files.insert(format!("{name} veiled.png"), png);
    }
    files
}

#[test]
fn pictures_are_decoded_as_by_pillow() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = jpegs();
    files.append(&mut others());
    files.append(&mut profiled());
    for (name, bytes) in &files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let sizes = python::decode_pictures(folder.path());
    for (name, bytes) in &files {
        let (width, height) = sizes[name].unwrap_or_else(|| panic!("Pillow refuses {name}"));
        let pixels = fs::read(folder.path().join(format!("{name}.rgb"))).unwrap();
        let expected = RgbImage::from_raw(width, height, pixels).unwrap();
        let picture = decode(bytes, &Limits::default())
            .unwrap_or_else(|reason| panic!("{name}: {reason}"))
            .picture;
        let distance = distance(&picture, &expected);
        assert!(distance < NEAR, "{name}: {distance}");
    }
}
