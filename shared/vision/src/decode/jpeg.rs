//! Checks whether a JPEG's data really reaches its last pixel.
//!
//! Decoders fill in grey where the data ends early and go on where it is damaged,
//! which is right for a viewer and wrong for a data set. So the entropy-coded data
//! is read once before decoding, without computing a pixel (ITU-T T.81, annexes F
//! and G). A file whose bytes end before its last block is truncated. A file whose
//! codes make no sense, or do not fill the data, is damaged. A file that lacks only
//! the end marker is sound.
//!
//! The `image` crate decodes the pixels with zune-jpeg. That decoder has a strict mode
//! (tried in version 0.5.15), which does not replace this check. Three kinds of files
//! show why:
//!
//! * It accepts most files that are damaged in the middle: some bytes overwritten or
//!   missing, with or without restart markers, baseline or progressive. Of ten real
//!   photographs of that kind it accepts six.
//! * It accepts some files that end early: baseline files with optimized Huffman
//!   tables that were cut off within their scan. Others it calls damaged rather than
//!   truncated.
//! * It refuses progressive files that lack only the end marker, and files with stray
//!   bytes between two segments, although the whole picture is there.

mod bits;
mod flaw;
mod frame;
mod huffman;
mod scan;
mod segments;
mod tables;

use maskline_messages::Reason;

pub use frame::Frame;

use flaw::Flaw;
use scan::{Coverage, Scan};
use segments::{Segments, marker};
use tables::Tables;

/// Reads all codes of a JPEG. The error says what is wrong with them.
pub fn check(bytes: &[u8]) -> Result<(), Reason> {
    Ok(read(bytes)?)
}

fn read(bytes: &[u8]) -> Result<(), Flaw> {
    let mut segments = Segments::new(bytes);
    let mut tables = Tables::default();
    let mut state: Option<(Frame, Coverage)> = None;
    while let Some(segment) = segments.next()? {
        match segment.marker {
            marker::DHT => tables.define_huffman(segment.data)?,
            marker::DQT => tables.define_quantization(segment.data),
            marker::DRI => {
                if let &[high, low, ..] = segment.data {
                    tables.restart_interval = u16::from_be_bytes([high, low]).into();
                }
            }
            marker::SOS => {
                let (frame, coverage) = state
                    .as_mut()
                    .ok_or(Flaw::Damaged("a scan before the frame header"))?;
                let scan = Scan::parse(segment.data, frame)?;
                segments.rest = scan.read(frame, &tables, coverage, segments.rest)?;
                // Nothing after the last scan of a sequential picture matters.
                if !frame.progressive && coverage.is_whole() {
                    return Ok(());
                }
            }
            marker::EOI => {
                return match &state {
                    Some((_, coverage)) if coverage.has_all_components() => Ok(()),
                    _ => Err(Flaw::Damaged(
                        "the end marker comes before the picture's end",
                    )),
                };
            }
            _ => {
                if let Some(frame) = Frame::parse(&segment)? {
                    if state.is_some() {
                        return Err(Flaw::Damaged("two frame headers"));
                    }
                    let coverage = Coverage::new(&frame);
                    state = Some((frame, coverage));
                }
            }
        }
    }
    match &state {
        Some((_, coverage)) if coverage.is_whole() => Ok(()),
        _ => Err(Flaw::Truncated("before the last scan")),
    }
}
