//! Batches that are more than a device has memory for.
//!
//! Such a batch is computed in equal parts, one after the other. Their gradients are added up, so
//! that the run has the steps and the learning rates that were asked for. Only batch norm sees the
//! difference: it takes the statistics of each part. So a run gives the same again with the same
//! number of parts, which the checkpoint and the report hold.

use anyhow::{Error, Result};
use maskline_models::ModelError;
use serde::{Deserialize, Serialize};

use crate::permanent_error::PermanentError;

/// The number of parts that each batch is computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Parts(usize);

impl Default for Parts {
    fn default() -> Self {
        Self(1)
    }
}

impl Parts {
    pub(crate) fn count(self) -> usize {
        self.0
    }

    /// The number of images in the largest part of a batch.
    pub(crate) fn images(self, batch: usize) -> usize {
        batch.div_ceil(self.0)
    }

    /// The number of images in each part of a batch. They differ by one at most.
    pub(crate) fn divide(self, batch: usize) -> impl Iterator<Item = usize> {
        let count = self.0.min(batch).max(1);
        (0..count).map(move |part| batch * (part + 1) / count - batch * part / count)
    }

    /// Twice as many parts, if `error` says that the device has no memory for one of these.
    ///
    /// # Errors
    /// `error` itself if it says something else, and [`PermanentError::DeviceMemory`] if a part is
    /// only one image already.
    pub(crate) fn doubled_for(self, error: Error, batch: usize) -> Result<Self> {
        if !lacks_memory(&error) {
            return Err(error);
        }
        if self.0 >= batch {
            return Err(not_for_one(&error));
        }
        Ok(Self(self.0 * 2))
    }
}

/// Computes with `batch` images at a time, and again from the beginning with half as many whenever
/// the device has no memory for them. It is for networks that infer: what they compute does not
/// depend on how many images there are at a time.
///
/// # Errors
/// [`PermanentError::DeviceMemory`] if there is no memory for one image, or what `compute` returns.
pub(crate) fn halving<T>(
    mut batch: usize,
    mut compute: impl FnMut(usize) -> Result<T>,
) -> Result<T> {
    loop {
        match compute(batch) {
            Err(error) if lacks_memory(&error) => {
                if batch <= 1 {
                    return Err(not_for_one(&error));
                }
                batch = batch.div_ceil(2);
                tracing::warn!(
                    images = batch,
                    reason = format!("{error:#}"),
                    "the device has no memory for so many images at a time, and gets half as many"
                );
            }
            ended => return ended,
        }
    }
}

fn lacks_memory(error: &Error) -> bool {
    let is_memory = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(ModelError::DeviceMemory(_)))
    };
    error.chain().any(is_memory)
}

fn not_for_one(error: &Error) -> Error {
    let error = format!("{error:#}");
    PermanentError::DeviceMemory { error }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_memory() -> Error {
        ModelError::DeviceMemory("can't allocate buffer of size: 5".into()).into()
    }

    #[test]
    fn parts_are_equal_or_differ_by_one_image_and_none_is_empty() {
        let divide = |parts, batch| Parts(parts).divide(batch).collect::<Vec<_>>();
        assert_eq!(divide(1, 8), [8]);
        assert_eq!(divide(2, 8), [4, 4]);
        assert_eq!(divide(4, 10), [2, 3, 2, 3]);
        assert_eq!(divide(16, 3), [1, 1, 1]);
        assert_eq!(Parts(4).images(10), 3);
    }

    #[test]
    fn parts_are_doubled_down_to_one_image_and_then_the_run_has_failed() {
        let doubled = Parts::default().doubled_for(no_memory(), 3).unwrap();
        let again = doubled.doubled_for(no_memory().context("a step failed"), 3);
        let again = again.unwrap();
        assert_eq!((doubled.images(3), again.images(3)), (2, 1));
        let error = again.doubled_for(no_memory(), 3).unwrap_err();
        let permanent = error.downcast_ref::<PermanentError>();
        assert!(
            matches!(permanent, Some(PermanentError::DeviceMemory { .. })),
            "{error:#}"
        );
    }

    #[test]
    fn another_error_divides_nothing() {
        let error = ModelError::Output("a kernel failed".into()).into();
        let error = Parts::default().doubled_for(error, 8).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(ModelError::Output(_))));
    }
}
