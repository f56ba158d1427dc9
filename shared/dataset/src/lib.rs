//! A frozen dataset's shards: Parquet files in the layout that pandas and Hugging
//! Face `datasets` open as images with labels. The storer writes them, the trainer
//! reads them.
//!
//! | column | holds |
//! |---|---|
//! | `image` | `bytes`, the normalized JPEG, and `path`, a name for it |
//! | `label` | an index into the dataset's classes |
//! | `image_id` | the SHA-256 of the bytes as fetched |
//! | `width`, `height` | pixels of the normalized image |

mod error;
mod read;
mod write;

pub use error::ShardError;
pub use read::{Row, read};
pub use write::{Example, GROUP_ROWS, SHARD_ROWS, ShardWriter, shard};
