//! The collections of studies and of the results of their trials.

use async_trait::async_trait;
use maskline_messages::StudyId;
use mongodb::bson::{Document, deserialize_from_document, doc};

use super::{
    MongodbCatalog,
    database::Query,
    documents::{bson, damaged, document, replace_fields},
    leases::{free, work_key},
    schema::{STUDIES, TRIAL_RESULTS},
};
use crate::{
    catalog::{missing, studies::Studies},
    error::StorageError,
    records::{Study, StudyState, TrialOutcome, TrialResult, TrialRung, Work},
};

#[async_trait]
impl Studies for MongodbCatalog {
    async fn create_study(&self, study: &Study) -> Result<(), StorageError> {
        self.database.insert_once(STUDIES, study).await
    }

    async fn study(&self, id: StudyId) -> Result<Option<Study>, StorageError> {
        self.database.by_id(STUDIES, id.to_string()).await
    }

    async fn update_study(&self, study: &Study) -> Result<(), StorageError> {
        let mut fields = document(study)?;
        let end = ["state", "error", "best"].map(|name| (name, fields.remove(name)));
        let filter = doc! { "_id": study.id.to_string() };
        if self
            .database
            .update(STUDIES, filter, replace_fields(end))
            .await?
        {
            return Ok(());
        }
        Err(missing::study(study.id))
    }

    async fn record_result(&self, result: &TrialResult) -> Result<(), StorageError> {
        let TrialRung { study, trial, rung } = result.of;
        let fields = doc! {
            "study": study.to_string(),
            "trial": i64::from(trial),
            "rung": i64::from(rung),
            "outcome": bson(&result.outcome)?,
        };
        let once = doc! { "$setOnInsert": fields };
        self.database
            .upsert(TRIAL_RESULTS, result.of.to_string(), once)
            .await
    }

    async fn results(&self, study: StudyId) -> Result<Vec<TrialResult>, StorageError> {
        let filter = doc! { "study": study.to_string() };
        let query = Query::sorted(doc! { "rung": 1, "trial": 1 });
        let found = self.database.find(TRIAL_RESULTS, filter, query).await?;
        found
            .into_iter()
            .map(|document| result_of(study, document))
            .collect()
    }

    async fn reopen_study(&self, id: StudyId) -> Result<(), StorageError> {
        let study = self.study(id).await?.ok_or_else(|| missing::study(id))?;
        if study.state != StudyState::Failed {
            return Ok(());
        }
        let mut left = vec![];
        for TrialResult { of, outcome } in self.results(id).await? {
            match outcome.is_failed() {
                true => {
                    let failed = doc! { "_id": of.to_string() };
                    self.database.delete(TRIAL_RESULTS, failed).await?;
                }
                false => left.push(of),
            }
        }
        // All ended work that has no result is opened, and not only the work whose result was
        // deleted just now: a process that deleted some may have died before it came to this.
        for trial in study.indices() {
            for rung in (0..).take(study.rungs.len()) {
                let of = TrialRung {
                    study: id,
                    trial,
                    rung,
                };
                if !left.contains(&of) {
                    let done = doc! { "_id": work_key(&Work::Trial(of)), "done": true };
                    free(&self.database, done).await?;
                }
            }
        }
        // The state comes last, so that all of this is repeated until it has been done.
        self.update_study(&study.reopened()).await
    }
}

fn result_of(study: StudyId, document: Document) -> Result<TrialResult, StorageError> {
    #[derive(serde::Deserialize)]
    struct Stored {
        trial: u32,
        rung: u32,
        outcome: TrialOutcome,
    }
    let Stored {
        trial,
        rung,
        outcome,
    } = deserialize_from_document(document).map_err(damaged)?;
    let of = TrialRung { study, trial, rung };
    Ok(TrialResult { of, outcome })
}
