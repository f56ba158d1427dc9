//! Every kind of picture of each format, which a script writes, is decoded as by Pillow, or
//! refused for the reason that is listed here.

use std::{collections::BTreeMap, fs};

use image::RgbImage;
use maskline_test_support::python;
use maskline_vision::{Limits, decode};

use super::{NEAR, common::distance};

/// What is refused, by a part of the name, and the reason.
const REFUSED: &[(&str, &str)] = &[
    ("animation 0", "animated, 2 frames"),
    ("animation 1", "animated, 2 frames"),
    ("PQ.png", "PNG of high dynamic range"),
    ("HLG.png", "PNG of high dynamic range"),
    ("narrow.png", "PNG of narrow range"),
    (
        "smaller.gif",
        "GIF with a frame of another size than the picture",
    ),
    (
        "smaller with background.gif",
        "GIF with a frame of another size than the picture",
    ),
    (
        "larger",
        "GIF with a frame of another size than the picture",
    ),
    (
        "header 64.bmp",
        "Bmp (Unknown bitmap header type (size=64))",
    ),
    ("group3", "TIFF of compression Fax3"),
    ("tiff_ccitt", "TIFF of compression Huffman"),
    ("jpeg cmyk.tif", "TIFF of JPEGs of these colours"),
    ("jpeg progressive.tif", "TIFF of JPEGs of several scans"),
    (
        "jpeg narrower.tif",
        "can't be decoded: a JPEG in the TIFF has another size than its part",
    ),
    ("jpeg rows.tif", "TIFF of more than 4096 JPEGs"),
    ("group4 {266: 2}", "TIFF of reversed bits"),
    ("reversed bits", "TIFF of reversed bits"),
    (
        "group4 {278: 4294967295}",
        "TIFF of fax 4 in strips of more than 65535 rows",
    ),
    (
        "packbits predicted",
        "TIFF of differences without LZW or deflate",
    ),
    (
        "extra 0 of 8 predicted",
        "TIFF of differences with more channels",
    ),
    (
        "extra 0 of 16 predicted",
        "TIFF of differences with more channels",
    ),
    ("extra 1", "TIFF of colours that are multiplied by alpha"),
    ("grey and alpha", "TIFF in grey with more channels"),
    ("inks 8 and alpha", "TIFF in CMYK with more channels"),
    ("inks 16 and alpha", "TIFF in CMYK with more channels"),
    ("inks 8 planes", "Tiff (Planar TIFF with CMYK color type)"),
    ("inks 16 planes", "Tiff (Planar TIFF with CMYK color type)"),
    ("profile cmyk.tif", "TIFF in CMYK with a colour profile"),
    ("indices", "TIFF with a palette"),
    ("lab ", "TIFF in Lab"),
    ("ycbcr", "TIFF in YCbCr"),
    (
        "grey 8 signed",
        "Tiff (Unhandled TIFF sample format 2 for 8 bits)",
    ),
    (
        "grey 16 signed",
        "Tiff (Unhandled TIFF sample format 2 for 16 bits)",
    ),
    ("grey 2.tif", "TIFF of 2-bit samples"),
    ("grey 2 white", "TIFF of 2-bit samples"),
    ("grey 4.tif", "TIFF of 4-bit samples"),
    ("grey 4 white", "TIFF of 4-bit samples"),
    ("rgb 1.tif", "TIFF of 1-bit samples"),
    ("rgb 2.tif", "TIFF of 2-bit samples"),
    ("rgb 4.tif", "TIFF of 4-bit samples"),
];

/// The end of the name of a file that has the right picture of another, where Pillow has none,
/// or not the one that the format's specification asks for.
const RIGHT: &str = ".right.png";

#[test]
fn written_pictures_are_decoded_as_by_pillow_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    python::write_pictures(folder.path());
    let names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let files: BTreeMap<&str, Vec<u8>> = names
        .iter()
        .map(|name| (name.as_str(), fs::read(folder.path().join(name)).unwrap()))
        .collect();
    for (part, _) in REFUSED {
        assert!(names.iter().any(|name| name.contains(part)), "{part}");
    }
    let sizes = python::decode_pictures(folder.path());
    let by_pillow = |name: &str| {
        let (width, height) = sizes[name]?;
        let pixels = fs::read(folder.path().join(format!("{name}.rgb"))).unwrap();
        RgbImage::from_raw(width, height, pixels)
    };
    let mut wrong = vec![];
    for (name, file) in files.iter().filter(|(name, _)| !name.ends_with(RIGHT)) {
        let refused = REFUSED.iter().find(|(part, _)| name.contains(part));
        let right = format!("{name}{RIGHT}");
        let same = sizes
            .get_key_value(&right)
            .map_or(*name, |(right, _)| right);
        let found = match (decode(file, &Limits::default()), by_pillow(same)) {
            (Err(reason), _) => reason.to_string().replace(" is not supported", ""),
            (Ok(_), None) => "Pillow refuses it".to_owned(),
            (Ok(found), Some(expected)) => {
                let distance = distance(&found.picture, &expected);
                match distance < NEAR {
                    true => "near".to_owned(),
                    false => format!("{distance} from what is right"),
                }
            }
        };
        if found != refused.map_or("near", |(_, reason)| reason) {
            wrong.push(format!("{name}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
