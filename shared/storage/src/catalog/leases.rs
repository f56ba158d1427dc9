//! Work that one process at a time may do.

use async_trait::async_trait;

use crate::{
    error::StorageError,
    records::{Lease, Work},
};

/// The leases: which work is open, and who does it. [`crate::lease`] builds on these.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Offers work: from now on it can be leased. Work that was offered before, done or
    /// not, stays as it is.
    async fn offer_work(&self, work: &Work) -> Result<(), StorageError>;

    /// Offers work once more, done or not. Whoever holds it loses the lease.
    async fn offer_work_again(&self, work: &Work) -> Result<(), StorageError>;

    /// Lists the work of a kind (see [`Work::kind`]) that was offered and is not done,
    /// with who holds it.
    async fn open_work(&self, kind: &str) -> Result<Vec<Lease>, StorageError>;

    /// Makes `owner` the holder if the lease is still as it was `seen`. Taking it from
    /// another holder counts as a failure of the work. Returns the lease of the new holder.
    async fn acquire_lease(&self, seen: &Lease, owner: &str)
    -> Result<Option<Lease>, StorageError>;

    /// Counts the lease's beat up and writes its failures. Returns `None` if the lease
    /// was taken over: the caller must stop the work.
    async fn renew_lease(&self, lease: &Lease) -> Result<Option<Lease>, StorageError>;

    /// Gives the work back undone, with the lease's failures, if it is still held.
    async fn release_lease(&self, lease: &Lease) -> Result<(), StorageError>;

    /// Marks the work as done, so that nobody can lease it any more. Returns `false` if
    /// the lease is not held any more.
    async fn finish_work(&self, lease: &Lease) -> Result<bool, StorageError>;
}
