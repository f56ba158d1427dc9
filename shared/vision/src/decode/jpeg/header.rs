//! What is known of a JPEG before a pixel is decoded: all of its marker segments are read,
//! and its entropy-coded data is skipped.

use super::{
    flaw::Flaw,
    frame::Frame,
    segments::{Segments, marker},
};
use crate::decode::profile::MAX_BYTES;

/// The most scans. Encoders write about ten. Each scan passes over the whole picture, so
/// that a small file of many scans would take hours.
pub const MAX_SCANS: usize = 100;

/// The marker segments of a JPEG.
#[derive(Debug)]
pub struct Header<'a> {
    pub frame: Frame,
    /// True if the first scan does not have all components, or the picture is progressive:
    /// the decoder then keeps all coefficients.
    pub several_scans: bool,
    /// The EXIF data, which is a TIFF.
    pub exif: Option<&'a [u8]>,
    /// The parts of an ICC profile, each with its number and the number of all parts.
    profile: Vec<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// Reads the header. The error says why the file can't be decoded.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut segments = Segments::new(bytes);
        let (mut exif, mut profile, mut frame) = (None, vec![], None);
        // Up to the first scan, everything must make sense.
        let first_scan = loop {
            let segment = segments
                .next()?
                .ok_or_else(|| Flaw::truncated("before the first scan"))?;
            match segment.marker {
                marker::SOS => break segment,
                marker::EOI => return Err(Flaw::damaged("no scan")),
                marker::APP1 => exif = exif.or(segment.data.strip_prefix(b"Exif\0\0")),
                marker::APP2 => profile.extend(segment.data.strip_prefix(b"ICC_PROFILE\0")),
                _ => {
                    if let Some(found) = Frame::parse(&segment)?
                        && frame.replace(found).is_some()
                    {
                        return Err(Flaw::damaged("two frame headers"));
                    }
                }
            }
        };
        let frame = frame.ok_or_else(|| Flaw::damaged("no frame header"))?;
        let components = first_scan.data.first().copied().unwrap_or(0);
        let several_scans = frame.progressive || usize::from(components) < frame.components.len();
        if several_scans {
            check_scans(segments)?;
        }
        Ok(Self {
            frame,
            several_scans,
            exif,
            profile,
        })
    }

    /// The ICC profile, put together from its parts. A profile that lacks a part counts as
    /// none.
    pub fn profile(&self) -> Option<Vec<u8>> {
        let mut parts = self.profile.clone();
        parts.sort_by_key(|part| part.first().copied());
        let mut profile = vec![];
        for (at, part) in parts.iter().enumerate() {
            let [number, count, data @ ..] = part else {
                return None;
            };
            let complete = usize::from(*number) == at + 1 && usize::from(*count) == parts.len();
            if !complete || profile.len() + data.len() > MAX_BYTES {
                return None;
            }
            profile.extend_from_slice(data);
        }
        (!profile.is_empty()).then_some(profile)
    }
}

/// Counts the scans behind the first. What else may be wrong behind it, the decoder says.
fn check_scans(mut segments: Segments) -> Result<(), Flaw> {
    let mut scans = 1;
    while let Ok(Some(segment)) = segments.next()
        && segment.marker != marker::EOI
    {
        scans += usize::from(segment.marker == marker::SOS);
        if scans > MAX_SCANS {
            return Err(Flaw::Unsupported(
                format!("JPEG of more than {MAX_SCANS} scans").into(),
            ));
        }
    }
    Ok(())
}
