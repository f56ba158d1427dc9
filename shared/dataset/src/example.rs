//! One image for a dataset, and where it comes from.

use bytes::Bytes;
use maskline_messages::{Face, ImageId, JobId};

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
    /// The faces in the picture. `None` means that nobody looked for them.
    pub faces: Option<Vec<Face>>,
    /// The group of images that look the same, by the lowest id of an image in it. `None` if
    /// nobody has looked for groups.
    pub group: Option<ImageId>,
    pub provenance: ExampleProvenance,
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
