//! The verdicts on the files with known truth in `../shared/data`, a folder
//! beside the repository; without it there is nothing to try.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use maskline_validator::{LimitArgs, judge};

/// The folder of real images, where there is one.
fn data() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let data = root.parent()?.join("shared/data");
    data.is_dir().then_some(data)
}

/// How many files of a kind have the right verdict, and with which reasons they
/// were rejected.
#[derive(Debug, Default)]
struct Outcome {
    files: usize,
    right: usize,
    reasons: BTreeMap<&'static str, usize>,
}

/// By kind. Near and exact duplicates are no matter of one file.
fn outcomes(folder: &Path) -> BTreeMap<String, Outcome> {
    let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
    let mut truth = csv::Reader::from_path(folder.join("truth.csv")).unwrap();
    for row in truth.deserialize() {
        let row: BTreeMap<String, String> = row.unwrap();
        if row["kind"].contains("dup") {
            continue;
        }
        let bytes = std::fs::read(folder.join(&row["file"])).unwrap();
        let outcome = outcomes.entry(row["kind"].clone()).or_default();
        outcome.files += 1;
        let verdict = judge(&bytes, &LimitArgs::DEFAULT);
        outcome.right += usize::from(verdict.is_ok() == (row["expected"] == "keep"));
        if let Err(rejected) = verdict {
            *outcome.reasons.entry(rejected.reason.code()).or_default() += 1;
        }
    }
    outcomes
}

/// Kinds that are rejected: the least number of files that must be, and for which
/// reasons.
const REJECTED: &[(&str, usize, &[&str])] = &[
    ("all_black", 3, &["too_dark"]),
    ("all_white", 3, &["too_bright"]),
    ("animated_gif", 6, &["animated"]),
    ("decompression_bomb", 3, &["too_large"]),
    ("extreme_aspect", 8, &["extreme_aspect"]),
    ("gif_1x1", 4, &["too_small"]),
    ("html_as_jpg", 6, &["not_an_image"]),
    ("icon_16", 6, &["too_small", "unsupported"]),
    ("jpeg_broken_middle", 9, &["undecodable"]),
    ("json_as_png", 5, &["not_an_image"]),
    ("near_uniform", 8, &["blank"]),
    ("over_exposed", 9, &["too_bright"]),
    ("png_bad_crc", 5, &["undecodable"]),
    ("strong_blur", 18, &["blurred"]),
    ("svg", 4, &["unsupported"]),
    ("tiny", 4, &["too_small"]),
    ("truncated_jpeg", 26, &["truncated"]),
    ("truncated_png", 4, &["truncated"]),
    ("very_dark", 12, &["too_dark"]),
    ("zero_byte", 4, &["empty"]),
];

/// Kinds that are all kept.
const KEPT: &[&str] = &[
    "bmp",
    "clean",
    "cmyk_jpeg",
    "exif_rotated",
    "grayscale",
    "huge_icc",
    "jpeg_missing_eoi",
    "jpeg_trailing_garbage",
    "mild_blur",
    "mild_bright",
    "mild_dark",
    "mild_jpeg",
    "odd_exif",
    "png16",
    "png_alpha",
    "progressive_jpeg",
    "static_gif",
    "tiff",
    "webp",
    "wrong_extension",
];

#[test]
fn dirty_files_have_the_verdict_that_they_should() {
    let Some(data) = data() else { return };
    let outcomes = outcomes(&data.join("dirty"));
    for (kind, outcome) in &outcomes {
        println!(
            "{kind}: {} of {}, {:?}",
            outcome.right, outcome.files, outcome.reasons
        );
    }
    for &(kind, least, reasons) in REJECTED {
        let outcome = &outcomes[kind];
        assert!(outcome.right >= least, "{kind}: {outcome:?}");
        let foreign = outcome.reasons.keys().find(|code| !reasons.contains(code));
        assert_eq!(foreign, None, "{kind}: {outcome:?}");
    }
    for &kind in KEPT {
        let outcome = &outcomes[kind];
        assert_eq!(outcome.right, outcome.files, "{kind}: {outcome:?}");
    }
}

#[test]
fn hardly_a_photograph_of_a_face_is_rejected() {
    let Some(data) = data() else { return };
    let (mut files, mut rejected) = (0, vec![]);
    for class in ["with_mask", "without_mask"] {
        for entry in std::fs::read_dir(data.join("face-masks").join(class)).unwrap() {
            let path = entry.unwrap().path();
            files += 1;
            if let Err(verdict) = judge(&std::fs::read(&path).unwrap(), &LimitArgs::DEFAULT) {
                rejected.push((path, verdict.reason));
            }
        }
    }
    assert!(
        rejected.len() * 500 <= files,
        "{} of {files}: {rejected:#?}",
        rejected.len()
    );
}
