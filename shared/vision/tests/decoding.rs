//! Tests of decoding: drawn pictures in every format, whole and damaged.

mod common;

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage, codecs::gif::GifEncoder};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use maskline_messages::{Format, Reason};
use maskline_vision::{Limits, decode};
use proptest::prelude::*;

use common::{code, decoded, distance, refused};

/// A scene with soft and sharp edges, which differs from itself mirrored or rotated.
fn scene(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32 / width as f32, y as f32 / height as f32);
        let disc = ((x - 0.3).powi(2) + (y - 0.4).powi(2)).sqrt() < 0.2;
        let wave = ((x * 9.0 + y * 5.0).sin() + 1.0) / 2.0;
        Rgb([
            if disc { 220 } else { (x * 200.0) as u8 },
            (y * 180.0) as u8,
            (wave * 255.0) as u8,
        ])
    })
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG of the scene, with the encoder's settings that `set` makes.
fn jpeg(set: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let picture = scene(150, 110);
    let mut bytes = vec![];
    let mut encoder = Encoder::new(&mut bytes, 90);
    set(&mut encoder);
    encoder
        .encode(picture.as_raw(), 150, 110, ColorType::Rgb)
        .unwrap();
    bytes
}

/// The kinds of JPEG that encoders write.
fn jpegs() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("baseline 4:4:4", jpeg(|_| {})),
        (
            "baseline 4:2:0",
            jpeg(|e| e.set_sampling_factor(SamplingFactor::F_2_2)),
        ),
        (
            "baseline 4:2:2",
            jpeg(|e| e.set_sampling_factor(SamplingFactor::F_2_1)),
        ),
        ("restart markers", jpeg(|e| e.set_restart_interval(7))),
        (
            "optimized tables",
            jpeg(|e| e.set_optimized_huffman_tables(true)),
        ),
        ("progressive", jpeg(|e| e.set_progressive(true))),
        (
            "progressive 4:2:0",
            jpeg(|e| {
                e.set_progressive(true);
                e.set_sampling_factor(SamplingFactor::F_2_2);
            }),
        ),
        (
            "progressive with restarts",
            jpeg(|e| {
                e.set_progressive(true);
                e.set_restart_interval(5);
            }),
        ),
    ]
}

#[test]
fn every_format_is_known_by_its_content_and_decodes_to_the_same_picture() {
    let picture = scene(60, 44);
    let exact = [
        (ImageFormat::Png, Format::Png),
        (ImageFormat::WebP, Format::Webp),
        (ImageFormat::Bmp, Format::Bmp),
        (ImageFormat::Tiff, Format::Tiff),
    ];
    for (encoding, format) in exact {
        let decoded = decoded(&encoded(picture.clone(), encoding));
        assert_eq!(
            (decoded.format, decoded.width, decoded.height),
            (format, 60, 44)
        );
        assert_eq!(decoded.picture, picture, "{format:?}");
    }
    let gif = decoded(&encoded(picture.clone(), ImageFormat::Gif));
    assert_eq!(gif.format, Format::Gif);
    assert!(distance(&gif.picture, &picture) < 12.0, "256 colours");
}

#[test]
fn every_kind_of_jpeg_decodes_to_the_same_picture() {
    for (name, bytes) in jpegs() {
        let decoded = decoded(&bytes);
        assert_eq!(decoded.format, Format::Jpeg);
        assert!(distance(&decoded.picture, &scene(150, 110)) < 4.0, "{name}");
    }
}

#[test]
fn cmyk_with_adobe_inversion_keeps_its_colours() {
    let picture = scene(64, 48);
    let cmyk: Vec<u8> = picture
        .pixels()
        .flat_map(|pixel| {
            let [red, green, blue] = pixel.0;
            let white = red.max(green).max(blue).max(1);
            let ink = |channel: u8| 255 - (u32::from(channel) * 255 / u32::from(white)) as u8;
            [ink(red), ink(green), ink(blue), 255 - white]
        })
        .collect();
    for kind in [ColorType::Cmyk, ColorType::CmykAsYcck] {
        let mut bytes = vec![];
        Encoder::new(&mut bytes, 95)
            .encode(&cmyk, 64, 48, kind)
            .unwrap();
        let distance = distance(&decoded(&bytes).picture, &picture);
        assert!(distance < 6.0, "{kind:?}: {distance}");
    }
}

#[test]
fn grey_and_sixteen_bits_are_scaled() {
    let luma = DynamicImage::from(scene(40, 30)).to_luma8();
    let mut grey = vec![];
    Encoder::new(&mut grey, 95)
        .encode(luma.as_raw(), 40, 30, ColorType::Luma)
        .unwrap();
    let as_rgb = DynamicImage::from(luma.clone()).to_rgb8();
    assert!(distance(&decoded(&grey).picture, &as_rgb) < 3.0);
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let wide = encoded(DynamicImage::from(luma.clone()).to_luma16(), format);
        assert_eq!(decoded(&wide).picture, as_rgb, "{format:?}");
        let wide = encoded(DynamicImage::from(scene(40, 30)).to_rgb16(), format);
        assert_eq!(decoded(&wide).picture, scene(40, 30), "{format:?}");
    }
}

#[test]
fn alpha_is_laid_over_white() {
    let veiled = RgbaImage::from_pixel(5, 5, Rgba([200, 0, 0, 128]));
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let picture = decoded(&encoded(veiled.clone(), format)).picture;
        assert_eq!(picture.get_pixel(2, 2).0, [227, 127, 127], "{format:?}");
    }
}

/// EXIF data with nothing but the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    exif
}

#[test]
fn pictures_are_rotated_upright() {
    let turned = jpeg(|e| e.add_exif_metadata(&exif(6)).unwrap());
    let upright = decoded(&turned);
    assert_eq!((upright.width, upright.height), (110, 150));
    let expected = image::imageops::rotate90(&scene(150, 110));
    assert!(distance(&upright.picture, &expected) < 4.0);
    // Wrong metadata is no reason to lose the picture.
    let mut cut_short = exif(6);
    cut_short.truncate(12);
    for wrong in [exif(99), cut_short] {
        let bytes = jpeg(|e| e.add_exif_metadata(&wrong).unwrap());
        assert_eq!(decoded(&bytes).width, 150);
    }
}

#[test]
fn a_jpeg_that_lacks_only_its_end_marker_or_has_a_tail_is_accepted() {
    for (name, bytes) in jpegs() {
        let whole = decoded(&bytes).picture;
        let cut = &bytes[..bytes.len() - 2];
        assert_eq!(decoded(cut).picture, whole, "{name}");
        let tailed = [&bytes, &b"<!-- served in 3 ms -->"[..]].concat();
        assert_eq!(decoded(&tailed).picture, whole, "{name}");
    }
}

#[test]
fn files_that_end_early_are_truncated() {
    let mut files = jpegs();
    let picture = scene(90, 70);
    files.extend([
        ("png", encoded(picture.clone(), ImageFormat::Png)),
        ("gif", encoded(picture.clone(), ImageFormat::Gif)),
        ("webp", encoded(picture.clone(), ImageFormat::WebP)),
        ("bmp", encoded(picture.clone(), ImageFormat::Bmp)),
    ]);
    for (name, bytes) in files {
        for percent in [10, 40, 70, 90, 97] {
            let cut = &bytes[..bytes.len() * percent / 100];
            assert_eq!(code(cut), "truncated", "{percent} % of {name}");
        }
    }
    let tiff = encoded(picture, ImageFormat::Tiff);
    // A TIFF ends with its directory. Without it the decoder can't tell that the file is
    // cut off.
    assert_ne!(code(&tiff[..tiff.len() * 2 / 3]), "accepted");
}

#[test]
fn a_jpeg_that_is_damaged_in_the_middle_is_refused() {
    for (name, bytes) in jpegs() {
        let middle = bytes.len() * 2 / 3;
        let mut zeroed = bytes.clone();
        zeroed[middle..middle + 60].fill(0);
        assert_eq!(code(&zeroed), "undecodable", "{name}");
        let missing = [&bytes[..middle], &bytes[middle + 200..]].concat();
        assert_eq!(code(&missing), "undecodable", "{name}");
    }
}

#[test]
fn a_png_with_a_wrong_checksum_is_refused() {
    let mut bytes = encoded(scene(60, 50), ImageFormat::Png);
    let end = bytes.len();
    // The checksum of the data chunk lies before the end chunk of 12 bytes.
    bytes[end - 14] ^= 0x55;
    assert_eq!(code(&bytes), "undecodable");
}

#[test]
fn animations_say_how_many_frames_they_have() {
    let mut gif = vec![];
    let mut encoder = GifEncoder::new(&mut gif);
    for shade in [10, 100, 200] {
        let frame = RgbaImage::from_pixel(20, 20, Rgba([shade, 0, 0, 255]));
        encoder.encode_frame(image::Frame::new(frame)).unwrap();
    }
    drop(encoder);

    // The animation control chunk goes behind the header of 8 + 25 bytes.
    let mut png = encoded(scene(20, 20), ImageFormat::Png);
    let control = b"\0\0\0\x08acTL\0\0\0\x03\0\0\0\0\xD3\x24\x5E\x60";
    png.splice(33..33, control.iter().copied());

    let mut webp = b"RIFF\0\0\0\0WEBPVP8X\x0A\0\0\0\x02\0\0\0\x13\0\0\x13\0\0".to_vec();
    webp.extend(b"ANIM\x06\0\0\0\0\0\0\0\0\0");
    let still = encoded(scene(20, 20), ImageFormat::WebP);
    for _ in 0..3 {
        let frame = [&[0; 6][..], b"\x13\0\0\x13\0\0\x64\0\0\0", &still[12..]].concat();
        webp.extend(b"ANMF");
        webp.extend((frame.len() as u32).to_le_bytes());
        webp.extend(frame);
    }
    let size = (webp.len() as u32 - 8).to_le_bytes();
    webp[4..8].copy_from_slice(&size);

    for (name, bytes) in [("gif", gif), ("png", png), ("webp", webp)] {
        let reason = decode(&bytes, &Limits::default()).unwrap_err();
        assert_eq!(reason, Reason::Animated { frames: 3 }, "{name}");
    }
}

/// A PNG whose header claims `side` × `side` pixels, and which contains far fewer.
fn bomb(side: u32) -> Vec<u8> {
    let mut bytes = encoded(scene(8, 8), ImageFormat::Png);
    bytes[16..20].copy_from_slice(&side.to_be_bytes());
    bytes[20..24].copy_from_slice(&side.to_be_bytes());
    let crc = bytes[12..29].iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    });
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    bytes
}

#[test]
fn limits_are_checked_before_decoding() {
    let limits = Limits {
        bytes: 20_000,
        pixels: 10_000,
        memory: 60_000,
    };
    let refused = |bytes: &[u8]| decode(bytes, &limits).unwrap_err();
    assert_eq!(
        refused(&bomb(60_000)),
        Reason::TooLarge {
            width: 60_000,
            height: 60_000,
            most_pixels: 10_000
        }
    );
    assert_eq!(
        refused(&[0; 20_001]),
        Reason::TooManyBytes {
            bytes: 20_001,
            most: 20_000
        }
    );
    // Pictures of 16 bits a channel take twice the memory, so half as many pixels are
    // allowed.
    let limits = Limits {
        bytes: 1 << 20,
        memory: 30_000,
        ..limits
    };
    let fits = encoded(scene(99, 101), ImageFormat::Png);
    assert!(decode(&fits, &limits).is_ok());
    let wide = encoded(
        DynamicImage::from(scene(99, 101)).to_rgb16(),
        ImageFormat::Png,
    );
    assert_eq!(
        decode(&wide, &limits).unwrap_err(),
        Reason::TooLarge {
            width: 99,
            height: 101,
            most_pixels: 5000
        }
    );
}

#[test]
fn large_pictures_are_halved_and_report_their_original_size() {
    let large = decoded(&encoded(scene(4100, 40), ImageFormat::Bmp));
    assert_eq!((large.width, large.height), (4100, 40));
    assert_eq!(large.picture.dimensions(), (1025, 10));
}

#[test]
fn a_file_that_is_no_image_is_named() {
    assert_eq!(refused(b""), "no bytes");
    assert_eq!(
        refused(b"<!doctype html>"),
        "not an image (looks like html)"
    );
    assert_eq!(
        refused(b"\0\0\0\x20ftypavif\0\0\0\0"),
        "AVIF is not supported"
    );
}

fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let picture = scene(48, 40);
    let mut files: Vec<_> = jpegs().into_iter().map(|(_, bytes)| bytes).collect();
    for format in [
        ImageFormat::Png,
        ImageFormat::Gif,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ] {
        files.push(encoded(picture.clone(), format));
    }
    prop::sample::select(files)
}

proptest! {
    // Decoding returns for every damaged file, and a file that it accepts has a picture.
    #[test]
    fn mutated_files_are_decoded_or_refused(
        mut bytes in any_file(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(decoded) = decode(&bytes, &Limits::default()) {
            prop_assert!(decoded.picture.width() > 0 && decoded.picture.height() > 0);
        }
    }

    #[test]
    fn noise_behind_any_magic_is_decoded_or_refused(
        magic in prop::sample::select(vec![
            &b"\xFF\xD8\xFF"[..], b"\x89PNG\r\n\x1A\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*",
            b"BM\0\0\0\0\0\0\0\0\0\0\0\0\x28\0\0\0",
        ]),
        noise in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let bytes = [magic, &noise].concat();
        if let Ok(decoded) = decode(&bytes, &Limits::default()) {
            prop_assert!(decoded.picture.width() > 0);
        }
    }
}
