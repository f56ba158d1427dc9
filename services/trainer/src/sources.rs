//! The sources of a dataset's images, as people know them.

use std::collections::HashMap;

use maskline_messages::{JobId, SourceRole};
use maskline_storage::{StorageError, catalog::Jobs};

/// The sources of some jobs.
#[derive(Debug, Default)]
pub(crate) struct Sources(HashMap<JobId, Source>);

/// A source. Jobs of the same source with the same role are one of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) role: SourceRole,
}

impl Sources {
    /// Reads the sources of `jobs` from the catalog. A job that is not there is named by its id.
    pub(crate) async fn read(
        catalog: &dyn Jobs,
        jobs: impl IntoIterator<Item = JobId>,
    ) -> Result<Self, StorageError> {
        let mut sources = HashMap::new();
        for id in jobs {
            if let Some(job) = catalog.job(id).await? {
                let source = Source {
                    name: job.source.to_string(),
                    role: job.role,
                };
                sources.insert(id, source);
            }
        }
        Ok(Self(sources))
    }

    /// The source of a job. `role` is that of one that is not known.
    pub(crate) fn of(&self, job: JobId, role: SourceRole) -> Source {
        let known = self.0.get(&job).cloned();
        known.unwrap_or_else(|| Source {
            name: format!("job {job}"),
            role,
        })
    }
}
