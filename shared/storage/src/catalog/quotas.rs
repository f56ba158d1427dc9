//! Limits that all processes keep together.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    error::StorageError,
    records::{Quota, Share, ShareLimit, ShareRequest, Turn},
};

/// The quotas: how often something may be done by all processes together, such as asking a
/// service that counts its requests. A key, such as `search/openverse`, names what is limited.
/// It needs no preparation.
///
/// `now` is the caller's time in milliseconds since the Unix epoch. The processes' clocks
/// should agree within a minute. A clock that is wrong can make a quota grant too much, but it
/// blocks nobody for longer than the quota itself would.
#[async_trait]
pub trait Quotas: Send + Sync + 'static {
    /// Takes a turn, if the quota allows one now. A turn that was granted counts whether it is
    /// used or not. Several processes should give the same quota for a key. If they do not,
    /// each of them keeps its own, and all turns count for all.
    async fn take_turn(&self, key: &str, quota: &Quota, now: u64) -> Result<Turn, StorageError>;

    /// Gives a process its part of something that all share, such as asking one site: places,
    /// and a few turns at once. So a process need not ask before everything that it does. All
    /// processes together have no more places than the limit allows, and no two turns closer to
    /// each other. The places of a process that is killed are free again after a while.
    ///
    /// Several processes should give the same limit for a key.
    async fn share(
        &self,
        key: &str,
        limit: &ShareLimit,
        request: &ShareRequest,
        now: u64,
    ) -> Result<Share, StorageError>;

    /// Grants no turn under the key for `pause` from now on, for example because a server asks
    /// for that with Retry-After. If the key is held off for longer already, that stays.
    async fn hold_off(&self, key: &str, pause: Duration, now: u64) -> Result<(), StorageError>;
}
