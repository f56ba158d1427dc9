//! All roles of a catalog together.

use async_trait::async_trait;

use super::{
    candidates::Candidates, collections::Collections, images::Images, jobs::Jobs, leases::Leases,
    library::Library, quotas::Quotas, removals::Removals, studies::Studies,
};
use crate::error::StorageError;

/// A catalog: MongoDB, or SQLite. A service is given the roles that it uses and nothing
/// else; the whole is for the command and the tests.
///
/// Every method but [`Quotas::take_turn`] and [`Quotas::share`] is idempotent, every one is durable when it returns, and none needs a transaction
/// over several documents: a process may be killed between any two calls and the counts
/// are still right. The counts follow from the documents: a count that is stored is of
/// documents that can no longer change, or it changes with them.
#[async_trait]
pub trait Catalog:
    Collections + Jobs + Candidates + Images + Removals + Leases + Library + Studies + Quotas
{
    /// Succeeds if the catalog answers now.
    async fn ping(&self) -> Result<(), StorageError>;
}
