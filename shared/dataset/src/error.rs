//! Why a file of a dataset cannot be read.

use arrow::error::ArrowError;
use maskline_messages::InvalidId;
use parquet::errors::ParquetError;
use thiserror::Error;

/// Why a manifest cannot be read.
#[derive(Debug, Error)]
pub enum ManifestError {
    #[error("its manifest is unreadable: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("its layout is version {found}, and this build reads version {known}")]
    Version { found: u32, known: u32 },
}

/// Why a shard cannot be read or written.
#[derive(Debug, Error)]
pub enum ShardError {
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error("the file contradicts itself about its pages: it is damaged")]
    Contradictory,
    #[error("it has no column {0}")]
    NoColumn(&'static str),
    #[error("some of its values are missing")]
    Missing,
    #[error("label {label} is not an index into its {classes} classes")]
    Label { label: i64, classes: usize },
    #[error(transparent)]
    Image(#[from] InvalidId),
}
