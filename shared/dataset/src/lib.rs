//! A frozen dataset, as the storer writes it and the trainer reads it: a manifest
//! beside shards.
//!
//! * [`Manifest`]: what a dataset holds, as JSON. It is written last, so that a
//!   dataset with a manifest is complete.
//! * [`ShardWriter`] and [`read`]: the images of a split, in Parquet files that pandas
//!   and Hugging Face `datasets` open as images with labels.
//! * [`MembersWriter`] and [`read_members`]: which images are in it, without their pixels.
//! * [`differences`]: what is different between two versions.
//! * [`class_warnings`]: what is wrong with how many images of each class it has.
//! * [`card`]: a page about the dataset, for people and for Hugging Face's Hub.
//! * [`attribution_header`] and [`attribution_rows`]: the list of what the licences of the
//!   images ask to be shown.
//!
//! The columns of a shard:
//!
//! | column | content |
//! |---|---|
//! | `image` | `bytes`, the normalized JPEG, and `path`, a name for it |
//! | `label` | an index into the dataset's classes |
//! | `image_id` | the SHA-256 of the bytes as they were fetched |
//! | `width`, `height` | the size of the normalized image in pixels |
//! | `faces` | the faces in the picture: `bbox` (left, top, width, height), `keypoints`, `score`, in its pixels; null where nobody looked for them |
//! | `source` and others | where the image comes from, see [`ExampleProvenance`]; null where that is not known |
//! | `jobs` | the ids of the jobs whose sources have the image |

mod attribution;
mod card;
mod class_warnings;
mod columns;
mod diff;
mod error;
mod example;
mod face_counts;
mod faces;
mod manifest;
mod members;
mod read;
mod split;
mod tally;
mod write;

pub use attribution::{attribution_header, attribution_rows};
pub use card::{CardFacts, card};
pub use class_warnings::class_warnings;
pub use diff::{Change, Difference, differences};
pub use error::{ManifestError, ShardError};
pub use example::{Example, ExampleProvenance, Original};
pub use face_counts::FaceCounts;
pub use manifest::{LAYOUT_VERSION, Manifest, Shard, SplitManifest};
pub use members::{MEMBERS_GROUP, Member, MembersWriter, read_members};
pub use read::{Row, read};
pub use split::Split;
pub use tally::Tally;
pub use write::{GROUP_ROWS, SHARD_ROWS, ShardWriter, shard};
