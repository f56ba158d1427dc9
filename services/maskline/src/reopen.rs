//! Dead letters as the catalog's [`reopen`](maskline_storage::reopen) takes them.

use std::collections::BTreeSet;

use maskline_messages::JobId;
use maskline_runtime::{DeadLetter, DeadLetterId};
use maskline_storage::{Catalog, StorageError, reopen::DeadMessage};

/// What can be replayed now, and what became of its jobs. See
/// [`maskline_storage::reopen::Reopened`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reopened {
    pub ready: Vec<DeadLetterId>,
    pub jobs: BTreeSet<JobId>,
    pub early: BTreeSet<JobId>,
}

/// Opens what the dead letters are about. Doing it again changes nothing.
pub async fn reopen(
    catalog: &dyn Catalog,
    letters: &[DeadLetter],
) -> Result<Reopened, StorageError> {
    let dead = letters.iter().map(|letter| DeadMessage {
        id: &letter.id.0,
        stage: &letter.stage,
        body: &letter.envelope.body,
    });
    let reopened = maskline_storage::reopen::reopen(catalog, dead).await?;
    let ready = reopened.ready.into_iter();
    Ok(Reopened {
        ready: ready.map(|id| DeadLetterId(id.to_owned())).collect(),
        jobs: reopened.jobs,
        early: reopened.early,
    })
}
