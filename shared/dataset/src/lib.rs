//! A frozen dataset, as the storer writes it and the trainer reads it: a manifest
//! beside shards.
//!
//! * [`Manifest`]: what a dataset holds, as JSON. It is written last, so that a
//!   dataset with a manifest is complete.
//! * [`ShardWriter`] and [`read`]: the images of a split, in Parquet files that pandas
//!   and Hugging Face `datasets` open as images with labels.
//! * [`MembersWriter`] and [`read_members`]: which images are in it, without their pixels.
//! * [`differences`]: what is different between two versions.
//!
//! The columns of a shard:
//!
//! | column | content |
//! |---|---|
//! | `image` | `bytes`, the normalized JPEG, and `path`, a name for it |
//! | `label` | an index into the dataset's classes |
//! | `image_id` | the SHA-256 of the bytes as they were fetched |
//! | `width`, `height` | the size of the normalized image in pixels |

mod diff;
mod error;
mod manifest;
mod members;
mod read;
mod split;
mod write;

pub use diff::{Change, Difference, differences};
pub use error::{ManifestError, ShardError};
pub use manifest::{LAYOUT_VERSION, Manifest, Shard, SplitManifest};
pub use members::{MEMBERS_GROUP, Member, MembersWriter, read_members};
pub use read::{Row, read};
pub use split::Split;
pub use write::{Example, GROUP_ROWS, SHARD_ROWS, ShardWriter, shard};
