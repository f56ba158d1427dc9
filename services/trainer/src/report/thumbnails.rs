//! Small pictures of the mistakes in a report.

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use maskline_vision::encode;

use super::contents::Report;
use crate::examples::Examples;

/// The side in pixels. It is twice the size on the page, for screens of high resolution.
const SIDE: u32 = 192;

/// The JPEG quality.
const QUALITY: u8 = 80;

/// A picture as a `data:` URL.
pub(crate) struct Thumbnail(pub(crate) String);

/// Returns the pictures of the report's mistakes, in their order.
pub(crate) fn thumbnails(report: &Report, examples: &Examples) -> Result<Vec<Thumbnail>> {
    let thumbnail = |index: usize| {
        let shown = examples.validation.picture(index)?;
        let side = shown.picture.width().min(SIDE);
        let jpeg = encode::jpeg(&shown.square(side), QUALITY);
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
