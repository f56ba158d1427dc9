//! Small inputs of each kind that the parsers accept.

use std::{collections::HashMap, io::Cursor};

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use maskline_dataset::{Example, ExampleProvenance, Original, shard};
use maskline_messages::{
    Format, ImageId, Labeling, Message, NetworkName, ObjectKey, Reason, Source, SourceRequested,
    View,
};
use maskline_models::weights::Card;
use maskline_test_support::messages::{BYTES, JOB, face, fetched, label, location, one_of_each};
use safetensors::{Dtype, tensor::TensorView};

pub fn messages() -> Vec<Vec<u8>> {
    let header = fetched(JOB, location(), BYTES).header;
    let blank = Reason::Blank {
        deviation: 0.001,
        least: 0.02,
    };
    // Their fields have other forms than in the sample of their type.
    let others: [Message; 2] = [
        SourceRequested {
            job: JOB,
            source: Source::Folder {
                path: "faces".into(),
            },
            labeling: Some(Labeling::Declared {
                label: label("with_mask"),
            }),
            cursor: None,
            found: 0,
        }
        .into(),
        header.reject("validator", blank).into(),
    ];
    let all = one_of_each().into_iter().chain(others);
    all.map(|message| message.to_json()).collect()
}

pub fn names() -> Vec<Vec<u8>> {
    let image = ImageId::of(BYTES);
    let names = [
        JOB.to_string(),
        image.to_string(),
        ObjectKey::raw(&image).to_string(),
        "with_mask".to_owned(),
        "../../etc/passwd".to_owned(),
        "datasets/./1".to_owned(),
        "/raw//1".to_owned(),
        "raw\\..\\1".to_owned(),
    ];
    names.map(String::into_bytes).into()
}

/// See [`super::url_list`] for the first byte.
pub fn lists() -> Vec<Vec<u8>> {
    let lists = [
        "\0# people\nhttps://example.org/1.jpg\n\n  http://example.org/2.png \nno address\n",
        "\u{2}https://example.org/with_mask/1.jpg\r\nhttps://example.org/1.jpg\r\n",
        "\u{5}url,label\nhttps://example.org/1.jpg,with_mask\n\"https://example.org/2,3\",\"a\"\"b\"\n",
        "\u{5}\u{feff}label,\"URL\"\r\nwith_mask,https://example.org/1.jpg\r\n\r\n,\r\n",
        "\u{4}url,label\n\"never closed",
        "\u{1}picture\nhttps://example.org/1.jpg\n",
        "\u{4}# people\r\n\rsep=;\nurl;label;note\rhttps://example.org/1.jpg;a;\"two\rlines\"\r\n",
        "\0https://example.org/1.jpg\rhttps://example.org/2,3\r\nhttps://example.org/4.jpg a\n",
    ];
    lists.map(|list| list.as_bytes().to_vec()).into()
}

pub fn pages() -> Vec<Vec<u8>> {
    let pages = [
        "<!DOCTYPE html><base href=\"/a/\"><img src=1.jpg><IMG data-src='2.png' src=\"data:,\">",
        "<img srcset=\"1.jpg 1x, 2.jpg 2x\"><picture><source srcset='a.webp 200w, b.webp 4w'></picture>",
        "<meta property=\"og:image\" content=\"http://example.org/?a=1&amp;b=2\"><a href=x.jpeg#y>z</a>",
        "<script>\"<img src=no.jpg>\"</script><!-- <img src=no.jpg> --><svg><image href=1.png></svg>",
    ];
    pages.map(|page| page.as_bytes().to_vec()).into()
}

pub fn robots() -> Vec<Vec<u8>> {
    let files = [
        "User-agent: *\nDisallow: /private\nAllow: /private/*.jpg$\nCrawl-delay: 2\n",
        "User-agent: maskline\nUser-agent: other\nDisallow: /\n\nSitemap: https://example.org/s.xml\n",
        "\u{feff}user-agent:*\rdisallow:/%70eople # a comment\n",
    ];
    files.map(|file| file.as_bytes().to_vec()).into()
}

pub fn pictures() -> Vec<Vec<u8>> {
    let colour = |x, y| Rgb([(x * 40) as u8, (y * 60) as u8, 90]);
    let picture = DynamicImage::from(RgbImage::from_fn(6, 4, colour));
    let alpha = DynamicImage::from(picture.to_rgba8());
    let grey = DynamicImage::from(picture.to_luma16());
    let kinds = [
        (&picture, ImageFormat::Jpeg),
        (&picture, ImageFormat::Png),
        (&grey, ImageFormat::Png),
        (&alpha, ImageFormat::Gif),
        (&alpha, ImageFormat::WebP),
        (&picture, ImageFormat::Bmp),
        (&picture, ImageFormat::Tiff),
    ];
    let files = kinds.map(|(picture, format)| {
        let mut bytes = Cursor::new(vec![]);
        let written = picture.write_to(&mut bytes, format);
        written.expect("memory takes every picture");
        bytes.into_inner()
    });
    files.into()
}

/// A file with the card of a network and one of its tensors.
pub fn weights() -> Vec<Vec<u8>> {
    let classes = vec![label("with_mask"), label("without_mask")];
    let card = Card::new(NetworkName::MobilenetV3Small, classes, 112, View::Face);
    let card = serde_json::to_string(&card).expect("names and numbers are JSON");
    let values = [0; 4 * 16];
    let tensor = TensorView::new(Dtype::F32, vec![16], &values).expect("its size is right");
    let tensors = [("features.0.1.weight", tensor)];
    let metadata = HashMap::from([("maskline".to_owned(), card)]);
    let file = safetensors::serialize(tensors, Some(metadata));
    vec![file.expect("one tensor is a file")]
}

pub fn shards() -> Vec<Vec<u8>> {
    let classes = ["with_mask", "without_mask"].map(label);
    let shards = [0, 1, 3].map(|rows| {
        let example = |row: u8| Example {
            image: ImageId::of(&[row]),
            class: usize::from(row % 2),
            jpeg: Bytes::from(vec![row; 3]),
            width: 1,
            height: 1,
            original: (row > 0).then_some(Original {
                format: Format::Png,
                width: 640,
                height: 480,
                bytes: Some(12_345),
            }),
            faces: (row > 0).then(|| vec![face(); usize::from(row - 1)]),
            group: Some(ImageId::of(&[row / 2])),
            provenance: ExampleProvenance {
                url: Some(format!("https://example.org/{row}.jpg")),
                fetched: Some(row.into()),
                ..ExampleProvenance::default()
            },
        };
        let rows: Vec<_> = (0..rows).map(example).collect();
        shard(&classes, &rows).expect("memory takes it").to_vec()
    });
    shards.into()
}
