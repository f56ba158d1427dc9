//! Counts of images by the number of faces in them.

use maskline_messages::Face;
use serde::{Deserialize, Serialize};

/// Counts of images by the number of faces in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaceCounts {
    /// Nobody looked for faces.
    pub not_looked_for: u64,
    /// No face was found. There may be one, such as behind a mask.
    pub none: u64,
    pub one: u64,
    pub several: u64,
}

impl FaceCounts {
    /// Counts one more image with these faces.
    pub fn add(&mut self, faces: Option<&[Face]>) {
        *match faces {
            None => &mut self.not_looked_for,
            Some([]) => &mut self.none,
            Some([_]) => &mut self.one,
            Some(_) => &mut self.several,
        } += 1;
    }

    /// The counts in words, in the order in which a table lists them.
    pub fn named(&self) -> [(&'static str, u64); 4] {
        [
            ("no face", self.none),
            ("one face", self.one),
            ("several faces", self.several),
            ("not looked for", self.not_looked_for),
        ]
    }
}
