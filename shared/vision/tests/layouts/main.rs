//! Every layout that a JPEG can have is decoded right, or refused with the true reason. The
//! files are written from a scene that is known everywhere, so that no decoder is needed to say
//! what is right.

#[path = "../common/mod.rs"]
mod common;
mod scene;
mod writer;

use common::{code, decoded, distance, refused};
use scene::Channels;
use writer::{Layout, Process, Scan, segment};

/// How far a decoded picture may be from the scene, in the mean of all channels.
const NEAR: f64 = 2.0;

fn assert_near(file: &[u8], layout: &Layout, name: &str) {
    let scene = layout
        .channels
        .picture(layout.width as u32, layout.height as u32);
    let distance = distance(&decoded(file).picture, &scene);
    assert!(distance < NEAR, "{name}: {distance}");
}

/// The scans of a progressive file: first the highest bits of all, then the others.
fn progressive_scans(components: usize) -> Vec<Scan> {
    let all: Vec<_> = (0..components).collect();
    let mut scans = vec![Scan::progressive(&all, (0, 0), (0, 2))];
    for component in 0..components {
        scans.push(Scan::progressive(&[component], (1, 5), (0, 2)));
        scans.push(Scan::progressive(&[component], (6, 63), (0, 2)));
    }
    for (high, low) in [(2, 1), (1, 0)] {
        scans.push(Scan::progressive(&all, (0, 0), (high, low)));
        for component in 0..components {
            scans.push(Scan::progressive(&[component], (1, 63), (high, low)));
        }
    }
    scans
}

/// One layout of each kind of channels and process.
fn kinds() -> Vec<(String, Layout)> {
    let mut kinds = vec![];
    for channels in [
        Channels::Grey,
        Channels::YCbCr,
        Channels::Rgb,
        Channels::Cmyk,
        Channels::Ycck,
    ] {
        for process in [Process::Baseline, Process::Extended, Process::Progressive] {
            for restart in [0, 4] {
                let mut sampling = vec![(1, 1); channels.count()];
                if matches!(channels, Channels::YCbCr | Channels::Ycck) {
                    // Black is sampled as finely as luma.
                    sampling[0] = (2, 2);
                    if let Some(black) = sampling.get_mut(3) {
                        *black = (2, 2);
                    }
                }
                let mut layout = Layout::interleaved(channels, &sampling);
                layout.process = process;
                layout.restart = restart;
                if process == Process::Progressive {
                    layout.scans = progressive_scans(channels.count());
                }
                kinds.push((
                    format!("{channels:?} {process:?} restart {restart}"),
                    layout,
                ));
            }
        }
    }
    kinds
}

#[test]
fn every_kind_of_channels_and_process_is_decoded_right() {
    for (name, layout) in kinds() {
        assert_near(&layout.write(), &layout, &name);
    }
}

#[test]
fn every_sampling_in_every_order_of_scans_is_decoded_right_or_refused_by_name() {
    let factors = || (1..=4).flat_map(|h| (1..=4).map(move |v| (h, v)));
    let mut checked = 0;
    for luma in factors() {
        for chroma in factors() {
            let sampling = [luma, chroma, chroma];
            let orders: [&[&[usize]]; 6] = [
                &[&[0, 1, 2]],
                &[&[0], &[1], &[2]],
                &[&[2], &[1], &[0]],
                &[&[0], &[1, 2]],
                &[&[1, 2], &[0]],
                &[&[0, 2], &[1]],
            ];
            for (number, order) in orders.into_iter().enumerate() {
                let mut layout = Layout::interleaved(Channels::YCbCr, &sampling);
                layout.scans = order.iter().map(|scan| Scan::sequential(scan)).collect();
                layout.restart = number % 2 * 3;
                let blocks = |scan: &&[usize]| -> usize {
                    scan.iter().map(|&c| sampling[c].0 * sampling[c].1).sum()
                };
                // T.81 allows ten blocks in a unit of several components.
                if order.iter().any(|scan| scan.len() > 1 && blocks(scan) > 10) {
                    continue;
                }
                let (columns, rows) = layout.largest();
                let whole = sampling
                    .iter()
                    .all(|(h, v)| columns % h == 0 && rows % v == 0);
                let name = format!("{luma:?} {chroma:?} {order:?}");
                checked += 1;
                if whole {
                    assert_near(&layout.write(), &layout, &name);
                } else {
                    assert_eq!(
                        refused(&layout.write()),
                        "JPEG with components whose sizes have no whole ratio is not supported",
                        "{name}"
                    );
                }
            }
        }
    }
    assert!(checked > 900, "{checked}");
}

#[test]
fn chroma_channels_of_different_sampling_are_decoded_right() {
    for sampling in [
        [(2, 2), (1, 2), (2, 1)],
        [(4, 1), (2, 1), (1, 1)],
        [(1, 1), (2, 2), (1, 2)],
        [(2, 1), (1, 1), (2, 1)],
    ] {
        let layout = Layout::interleaved(Channels::YCbCr, &sampling);
        assert_near(&layout.write(), &layout, &format!("{sampling:?}"));
        let mut apart = layout;
        apart.scans = [1, 0, 2].map(|c| Scan::sequential(&[c])).to_vec();
        assert_near(&apart.write(), &apart, &format!("{sampling:?} apart"));
    }
}

#[test]
fn progressive_scans_may_come_in_any_order_that_makes_sense() {
    let mut layout = Layout::interleaved(Channels::YCbCr, &[(2, 1), (1, 1), (1, 1)]);
    layout.process = Process::Progressive;
    layout.scans = vec![
        Scan::progressive(&[2], (0, 0), (0, 0)),
        Scan::progressive(&[2], (1, 63), (0, 3)),
        Scan::progressive(&[0], (0, 0), (0, 1)),
        Scan::progressive(&[1], (0, 0), (0, 0)),
        Scan::progressive(&[0], (1, 63), (0, 0)),
        Scan::progressive(&[2], (1, 20), (3, 2)),
        Scan::progressive(&[2], (21, 63), (3, 2)),
        Scan::progressive(&[0], (0, 0), (1, 0)),
        Scan::progressive(&[2], (1, 63), (2, 1)),
        Scan::progressive(&[1], (1, 63), (0, 0)),
        Scan::progressive(&[2], (1, 63), (1, 0)),
    ];
    let file = layout.write();
    assert_near(&file, &layout, "any order");
    // Of the last scan's bits none may be missing, unless the end marker says so.
    layout.scans.truncate(10);
    let shorter = layout.write();
    assert_near(&shorter, &layout, "an encoder that left out a scan");
    assert_eq!(code(&shorter[..shorter.len() - 2]), "truncated");
    // Without a component, there is no picture.
    layout.scans.retain(|scan| scan.components != [1]);
    assert_eq!(code(&layout.write()), "undecodable");
    // A scan that refines what no scan has begun.
    layout.scans = vec![Scan::progressive(&[0, 1, 2], (0, 0), (2, 1))];
    assert_eq!(code(&layout.write()), "undecodable");
}

#[test]
fn a_component_without_a_scan_is_missed() {
    let mut layout = Layout::interleaved(Channels::YCbCr, &[(1, 1); 3]);
    layout.scans = vec![Scan::sequential(&[0]), Scan::sequential(&[2])];
    let file = layout.write();
    assert_eq!(code(&file), "undecodable");
    assert_eq!(code(&file[..file.len() - 2]), "truncated");
}

#[test]
fn layouts_that_are_not_read_are_refused_by_name() {
    let file = Layout::interleaved(Channels::YCbCr, &[(1, 1); 3]).write();
    let frame = |marker: u8, change: fn(&mut [u8])| {
        let mut file = file.clone();
        let at = file.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        file[at + 1] = marker;
        change(&mut file[at + 4..]);
        refused(&file)
    };
    let same = |_: &mut [u8]| {};
    let cases = [
        (frame(0xC3, same), "lossless JPEG"),
        (frame(0xC5, same), "hierarchical JPEG"),
        (frame(0xCF, same), "hierarchical JPEG"),
        (frame(0xC9, same), "arithmetic-coded JPEG"),
        (frame(0xCA, same), "arithmetic-coded JPEG"),
        (frame(0xC1, |frame| frame[0] = 12), "JPEG of 12 bits"),
        (
            frame(0xC0, |frame| frame[1..3].fill(0)),
            "JPEG with its height at the end",
        ),
    ];
    for (refused, name) in cases {
        assert_eq!(refused, format!("{name} is not supported"));
    }
    let mut two = file.clone();
    let at = two.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    two[at + 9] = 2;
    assert_eq!(refused(&two), "JPEG of 2 components is not supported");
}

#[test]
fn scans_without_end_are_refused_before_they_are_decoded() {
    let mut layout = Layout::interleaved(Channels::YCbCr, &[(1, 1); 3]);
    layout.process = Process::Progressive;
    layout.scans = progressive_scans(3);
    let enough = vec![layout.scans[0].clone(); 101 - layout.scans.len()];
    layout.scans.splice(1..1, enough);
    assert_eq!(
        refused(&layout.write()),
        "JPEG of more than 100 scans is not supported"
    );
}

#[test]
fn padding_before_the_end_marker_is_no_damage() {
    for (name, layout) in kinds() {
        let file = layout.write();
        let (data, end) = file.split_at(file.len() - 2);
        let whole = decoded(&file).picture;
        let fillers: [&[u8]; 6] = [&[0], &[0x7F], &[0xFF, 0], &[0xFF], &[0xAA], &[0x20]];
        for filler in fillers {
            for length in [1, 9, 100, 70_000] {
                let padded = [data, &filler.repeat(length), end].concat();
                let name = format!("{name} {filler:?} {length} times");
                assert_eq!(code(&padded), "accepted", "{name}");
                assert_eq!(decoded(&padded).picture, whole, "{name}");
            }
        }
        let tailed = [&file[..], &b"<!-- served in 3 ms -->".repeat(50)].concat();
        assert_eq!(decoded(&tailed).picture, whole, "{name}");
        assert_eq!(
            decoded(data).picture,
            whole,
            "{name} without its end marker"
        );
    }
}

#[test]
fn a_file_whose_rest_is_zeros_is_no_picture() {
    for (name, layout) in kinds() {
        let file = layout.write();
        for percent in [40, 70, 90] {
            let mut zeroed = file.clone();
            zeroed[file.len() * percent / 100..].fill(0);
            assert_ne!(code(&zeroed), "accepted", "{percent} % of {name}");
            zeroed.extend([0xFF, 0xD9]);
            assert_ne!(
                code(&zeroed),
                "accepted",
                "{percent} % of {name} and its end"
            );
        }
    }
}

#[test]
fn a_file_that_ends_early_is_truncated() {
    for (name, layout) in kinds() {
        let file = layout.write();
        for percent in [1, 5, 30, 60, 90, 98] {
            let cut = &file[..file.len() * percent / 100];
            assert_eq!(code(cut), "truncated", "{percent} % of {name}");
        }
    }
}

#[test]
fn data_that_is_missing_in_the_middle_is_damage() {
    for (name, layout) in kinds() {
        let file = layout.write();
        for percent in [50, 70] {
            let at = file.len() * percent / 100;
            let missing = [&file[..at], &file[at + 120..]].concat();
            assert_eq!(code(&missing), "undecodable", "{percent} % of {name}");
        }
    }
}

#[test]
fn zeros_in_the_middle_are_damage_more_often_than_not() {
    let mut refused = 0;
    let file = Layout::interleaved(Channels::YCbCr, &[(2, 2), (1, 1), (1, 1)]).write();
    let starts: Vec<_> = (600..file.len() - 100).step_by(7).collect();
    for &start in &starts {
        let mut zeroed = file.clone();
        zeroed[start..start + 60].fill(0);
        refused += usize::from(code(&zeroed) != "accepted");
    }
    assert!(refused * 2 > starts.len(), "{refused} of {}", starts.len());
}

#[test]
fn orientations_turn_the_picture() {
    use image::imageops::{flip_horizontal, flip_vertical, rotate90, rotate180, rotate270};
    let mut layout = Layout::interleaved(Channels::YCbCr, &[(1, 1); 3]);
    let plain = decoded(&layout.write()).picture;
    for orientation in 0..=9 {
        let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        layout.segments.clear();
        segment(&mut layout.segments, 0xE1, &exif);
        let expected = match orientation {
            2 => flip_horizontal(&plain),
            3 => rotate180(&plain),
            4 => flip_vertical(&plain),
            5 => flip_horizontal(&rotate90(&plain)),
            6 => rotate90(&plain),
            7 => flip_horizontal(&rotate270(&plain)),
            8 => rotate270(&plain),
            _ => plain.clone(),
        };
        let decoded = decoded(&layout.write());
        assert_eq!(decoded.picture, expected, "{orientation}");
        assert_eq!((decoded.width, decoded.height), expected.dimensions());
    }
}

#[test]
fn channels_are_known_without_a_segment_that_names_them() {
    // RGB by its components' names, luma and chroma by any other.
    for channels in [
        Channels::Grey,
        Channels::YCbCr,
        Channels::Rgb,
        Channels::Cmyk,
    ] {
        let mut layout = Layout::interleaved(channels, &vec![(1, 1); channels.count()]);
        layout.segments.clear();
        assert_near(&layout.write(), &layout, &format!("{channels:?}"));
    }
}
