//! The pictures of a report's mistakes.

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use maskline_vision::{encode, resize};

use super::Report;
use crate::examples::Examples;

/// Pixels, twice what a page shows them at, for sharp screens.
const SIDE: u32 = 192;

const QUALITY: u8 = 80;

/// A picture as a `data:` URL.
pub struct Thumbnail(pub String);

/// The pictures of the report's mistakes, in their order.
pub fn thumbnails(report: &Report, examples: &Examples) -> Result<Vec<Thumbnail>> {
    let thumbnail = |index: usize| {
        let picture = examples.validation.picture(index)?;
        let side = picture.width().min(SIDE);
        let jpeg = encode::jpeg(&resize::square(&picture, side), QUALITY);
        Ok(Thumbnail(format!(
            "data:image/jpeg;base64,{}",
            STANDARD.encode(jpeg)
        )))
    };
    report
        .mistakes
        .iter()
        .map(|mistake| thumbnail(mistake.index))
        .collect()
}
