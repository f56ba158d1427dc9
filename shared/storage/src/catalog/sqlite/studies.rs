//! The tables of studies and of the results of their trials.

use async_trait::async_trait;
use maskline_messages::StudyId;
use rusqlite::{Connection, params};

use super::{
    SqliteCatalog,
    database::Failure,
    leases::offer_work_again,
    rows::{change_record, json, parse, record},
};
use crate::{
    catalog::{missing, studies::Studies},
    error::StorageError,
    records::{Study, StudyState, TrialResult, TrialRung, Work},
};

#[async_trait]
impl Studies for SqliteCatalog {
    async fn create_study(&self, study: &Study) -> Result<(), StorageError> {
        let study = study.clone();
        self.write("insert", "studies", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO studies (id, created, record) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO NOTHING",
                )?
                .execute(params![study.id.to_string(), study.created, json(&study)?])?;
            Ok(())
        })
        .await
    }

    async fn study(&self, id: StudyId) -> Result<Option<Study>, StorageError> {
        self.read("select", "studies", move |connection| {
            record(connection, "studies", &id.to_string())
        })
        .await
    }

    async fn update_study(&self, study: &Study) -> Result<(), StorageError> {
        let study = study.clone();
        self.write("update", "studies", move |connection| {
            let id = study.id;
            change_record(
                connection,
                "studies",
                &id.to_string(),
                |stored: &mut Study| {
                    stored.state = study.state;
                    stored.error = study.error.clone();
                    stored.best = study.best;
                },
            )?
            .ok_or_else(|| missing::study(id).into())
        })
        .await
    }

    async fn record_result(&self, result: &TrialResult) -> Result<(), StorageError> {
        let TrialResult { of, outcome } = result.clone();
        self.write("insert", "trial_results", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO trial_results (study, rung, trial, outcome)
                     VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    of.study.to_string(),
                    of.rung,
                    of.trial,
                    json(&outcome)?
                ])?;
            Ok(())
        })
        .await
    }

    async fn results(&self, study: StudyId) -> Result<Vec<TrialResult>, StorageError> {
        self.read("select", "trial_results", move |connection| {
            results(connection, study)
        })
        .await
    }

    async fn reopen_study(&self, id: StudyId) -> Result<(), StorageError> {
        self.write("update", "studies", move |connection| {
            let mut was = StudyState::Open;
            change_record(
                connection,
                "studies",
                &id.to_string(),
                |study: &mut Study| {
                    was = study.state;
                    if study.state == StudyState::Failed {
                        *study = study.reopened();
                    }
                },
            )?
            .ok_or_else(|| missing::study(id))?;
            if was != StudyState::Failed {
                return Ok(());
            }
            let mut delete = connection.prepare_cached(
                "DELETE FROM trial_results WHERE study = ?1 AND rung = ?2 AND trial = ?3",
            )?;
            for TrialResult { of, outcome } in results(connection, id)? {
                if outcome.is_failed() {
                    delete.execute(params![id.to_string(), of.rung, of.trial])?;
                    offer_work_again(connection, &Work::Trial(of))?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn results(connection: &Connection, study: StudyId) -> Result<Vec<TrialResult>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT rung, trial, outcome FROM trial_results WHERE study = ?1 ORDER BY rung, trial",
    )?;
    let mut results = vec![];
    let mut rows = select.query([study.to_string()])?;
    while let Some(row) = rows.next()? {
        results.push(TrialResult {
            of: TrialRung {
                study,
                rung: row.get(0)?,
                trial: row.get(1)?,
            },
            outcome: parse(&row.get::<_, String>(2)?)?,
        });
    }
    Ok(results)
}
