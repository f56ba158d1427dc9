use arrow::error::ArrowError;
use maskline_messages::InvalidId;
use parquet::errors::ParquetError;
use thiserror::Error;

/// What is wrong with a shard.
#[derive(Debug, Error)]
pub enum ShardError {
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error("what it says of its own pages can't be: it is damaged")]
    Contradictory,
    #[error("it has no column {0}")]
    NoColumn(&'static str),
    #[error("some of its values are missing")]
    Missing,
    #[error("label {label} is none of its {classes} classes")]
    Label { label: i64, classes: usize },
    #[error(transparent)]
    Image(#[from] InvalidId),
}
