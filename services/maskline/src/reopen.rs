//! Opens the candidates and jobs of dead letters again with [`maskline_storage::reopen`],
//! before the dead letters are replayed.

use std::collections::BTreeSet;

use maskline_messages::JobId;
use maskline_runtime::{DeadLetter, DeadLetterId};
use maskline_storage::{Catalog, StorageError, reopen::DeadMessage};

/// The dead letters that can be replayed now, and what became of their jobs. See
/// [`maskline_storage::reopen::Reopened`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reopened {
    pub(crate) ready: Vec<DeadLetterId>,
    pub(crate) jobs: BTreeSet<JobId>,
    pub(crate) early: BTreeSet<JobId>,
}

/// Opens what the dead letters are about. Doing it again changes nothing.
pub(crate) async fn reopen(
    catalog: &dyn Catalog,
    dead_letters: &[DeadLetter],
) -> Result<Reopened, StorageError> {
    let messages = dead_letters.iter().map(|dead_letter| DeadMessage {
        id: &dead_letter.id.0,
        stage: &dead_letter.stage,
        body: &dead_letter.envelope.body,
    });
    let reopened = maskline_storage::reopen::reopen(catalog, messages).await?;
    let ready = reopened.ready.into_iter();
    Ok(Reopened {
        ready: ready.map(|id| DeadLetterId(id.to_owned())).collect(),
        jobs: reopened.jobs,
        early: reopened.early,
    })
}
