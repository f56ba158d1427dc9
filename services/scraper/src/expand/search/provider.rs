//! What a provider of image search is to the rest of this code.

use async_trait::async_trait;
use maskline_messages::Search;

use super::{error::SearchError, result::ResultPage};

/// A service that searches for images.
///
/// An implementation knows how the provider wants to be asked and how its answer is read.
/// Quotas, keys and status codes are the concern of [`Service`](super::service::Service),
/// through which it asks.
#[async_trait]
pub(super) trait Provider: Send + Sync {
    /// Returns the first page of results, or the one that the page before named as its `next`.
    /// The same page is the same again, as far as the provider gives the same.
    async fn page(&self, search: &Search, at: Option<&str>) -> Result<ResultPage, SearchError>;
}

/// The number of a page, for a provider that counts its pages. `first` is the first page's.
pub(super) fn page_number(at: Option<&str>, first: u64) -> Result<u64, SearchError> {
    let Some(page) = at else {
        return Ok(first);
    };
    page.parse()
        .map_err(|_| SearchError::BadCursor(format!("{page:?} is not a page")))
}
