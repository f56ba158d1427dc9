//! One image for a dataset, and where it comes from.

use bytes::Bytes;
use maskline_messages::{Face, Format, ImageId, JobId, Measurements};

/// One image for a shard.
#[derive(Debug, Clone)]
pub struct Example {
    pub image: ImageId,
    /// An index into the dataset's classes.
    pub class: usize,
    /// The normalized image, a JPEG.
    pub jpeg: Bytes,
    /// The size of the normalized image in pixels.
    pub width: u32,
    pub height: u32,
    /// The image as it was fetched. `None` if that is not known.
    pub original: Option<Original>,
    /// The faces in the picture. `None` means that nobody looked for them.
    pub faces: Option<Vec<Face>>,
    /// The group of images that look the same or are of one photograph, by the lowest id of an image in it. `None` if
    /// nobody has looked for groups.
    pub group: Option<ImageId>,
    pub provenance: ExampleProvenance,
}

/// An image as it was fetched. What its file alone says may tell the class of an image, and then a
/// network may learn that in place of what is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original {
    pub format: Format,
    /// The size in pixels, upright.
    pub width: u32,
    pub height: u32,
    /// The number of bytes of the file, if it is known.
    pub bytes: Option<u64>,
}

impl Original {
    pub fn of(measurements: &Measurements) -> Self {
        Self {
            format: measurements.format,
            width: measurements.width,
            height: measurements.height,
            bytes: measurements.bytes,
        }
    }
}

/// Where an image comes from and how it may be used, as far as that is known. A dataset is
/// made to be given to others, so no text here may hold a secret, such as a password or a
/// signature in a URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExampleProvenance {
    /// The name of the source that named the image, such as the address of a list.
    pub source: Option<String>,
    /// The address from which the image was fetched.
    pub url: Option<String>,
    /// The page for people that shows the image.
    pub landing_page: Option<String>,
    pub title: Option<String>,
    /// The person or the organization that made the image.
    pub creator: Option<String>,
    /// The licence in lower case, such as `by-sa 4.0` or `cc0`.
    pub license: Option<String>,
    pub license_url: Option<String>,
    /// The line that the licence asks to be shown with the image.
    pub attribution: Option<String>,
    /// When the image was fetched, in milliseconds since 1970 (UTC).
    pub fetched: Option<i64>,
    /// The `ETag` that the server gave with the image.
    pub etag: Option<String>,
    /// The jobs whose sources have the image. `source` is that of the oldest.
    pub jobs: Vec<JobId>,
}
