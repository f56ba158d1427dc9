//! Validates the files with known truth in `../shared/data`, a folder beside the
//! repository. Without that folder the tests pass without checking anything.

use std::{collections::BTreeMap, path::Path};

use maskline_test_support::real_images;
use maskline_validator::{LimitArgs, validate};

/// How many files of a kind were validated rightly, and for which reasons files were
/// rejected.
#[derive(Debug, Default)]
struct KindOutcome {
    files: usize,
    right: usize,
    reasons: BTreeMap<&'static str, usize>,
}

/// The outcome by kind. Duplicates are left out: one file alone can't be a duplicate.
fn outcomes(folder: &Path) -> BTreeMap<String, KindOutcome> {
    let mut outcomes: BTreeMap<String, KindOutcome> = BTreeMap::new();
    let mut truth = csv::Reader::from_path(folder.join("truth.csv")).unwrap();
    for row in truth.deserialize() {
        let row: BTreeMap<String, String> = row.unwrap();
        if row["kind"].contains("dup") {
            continue;
        }
        let bytes = std::fs::read(folder.join(&row["file"])).unwrap();
        let outcome = outcomes.entry(row["kind"].clone()).or_default();
        outcome.files += 1;
        let verdict = validate(&bytes, &LimitArgs::DEFAULT, None);
        outcome.right += usize::from(verdict.is_ok() == (row["expected"] == "keep"));
        if let Err(rejected) = verdict {
            *outcome.reasons.entry(rejected.reason.code()).or_default() += 1;
        }
    }
    outcomes
}

/// Kinds that must be rejected: at least how many files, and for which reasons.
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

/// Kinds of which every file must be accepted.
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
fn files_with_known_truth_are_validated_rightly() {
    let Some(data) = real_images::folder() else {
        return;
    };
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
fn at_most_one_face_photograph_in_500_is_rejected() {
    let Some(data) = real_images::folder() else {
        return;
    };
    let (mut files, mut rejected) = (0, vec![]);
    for class in ["with_mask", "without_mask"] {
        for entry in std::fs::read_dir(data.join("face-masks").join(class)).unwrap() {
            let path = entry.unwrap().path();
            files += 1;
            if let Err(rejection) =
                validate(&std::fs::read(&path).unwrap(), &LimitArgs::DEFAULT, None)
            {
                rejected.push((path, rejection.reason));
            }
        }
    }
    assert!(
        rejected.len() * 500 <= files,
        "{} of {files}: {rejected:#?}",
        rejected.len()
    );
}
