//! Tuning: what follows from the results of a study's trials.
//!
//! Nobody leads a study. A trainer that has trained a rung of a trial records the result, reads all
//! results, and then does what follows from them: it offers the rungs to which trials were promoted,
//! or it ends the study. Only after that does it finish its lease. Of two trainers that record their
//! results at the same time at least the one that reads last sees both. And whatever a trainer does
//! that dies in between, its lease is still open: whoever takes it over finds the result there, and
//! does again what follows from it. Each step of that can be repeated, by two at once, too.

mod draw;
mod promotion;
mod report;
mod trial_task;

use anyhow::Result;
use maskline_messages::ObjectKey;
use maskline_models::prediction::Score;
use maskline_storage::records::{
    Run, Study, StudyState, TrialOutcome, TrialResult, TrialRung, Work,
};

pub(crate) use draw::study;
pub(crate) use trial_task::TrialTask;

use self::{promotion::Standing, report::StudyReport};
use crate::{checkpoint, resources::Resources};

/// Does what follows from the results that are there.
async fn advance(resources: &Resources, study: &Study) -> Result<()> {
    let results = resources.studies.results(study.id).await?;
    let standing = standing(study, &results);
    // The first rung of all trials was offered when the study was recorded.
    for (rung, trials) in (0..).zip(&standing.participants).skip(1) {
        for &trial in trials {
            if outcome(&results, rung, trial).is_none() {
                let study = study.id;
                let of = TrialRung { study, trial, rung };
                resources.leases.offer_work(&Work::Trial(of)).await?;
            }
        }
    }
    match standing.complete {
        true => end(resources, study, &results, standing.best).await,
        false => Ok(()),
    }
}

fn standing(study: &Study, results: &[TrialResult]) -> Standing {
    // A study has at most 1000 trials.
    let trials = study.indices().count() as u32;
    Standing::of(trials, study.rungs.len(), |rung, trial| {
        let outcome = outcome(results, rung, trial)?;
        Some(match *outcome {
            TrialOutcome::Scored { accuracy, loss } => Some(Score { accuracy, loss }),
            TrialOutcome::Failed { .. } => None,
        })
    })
}

/// Finds a result among those that are sorted by rung and trial.
fn outcome(results: &[TrialResult], rung: u32, trial: u32) -> Option<&TrialOutcome> {
    let at = |result: &TrialResult| (result.of.rung, result.of.trial);
    let found = results.binary_search_by_key(&(rung, trial), at).ok()?;
    Some(&results[found].outcome)
}

/// Ends a study of which nothing is left to train: its best trial becomes a run like any other,
/// which goes on from the trial's checkpoint and so has only to be measured and published.
///
/// The study's state is written last. Until then all of this is repeated, by whoever has the lease
/// on one of its last trials.
async fn end(
    resources: &Resources,
    study: &Study,
    results: &[TrialResult],
    best: Option<u32>,
) -> Result<()> {
    let ended = Study {
        state: match best {
            Some(_) => StudyState::Done,
            None => StudyState::Failed,
        },
        error: match best {
            Some(_) => None,
            None => Some(why_all_failed(study, results)),
        },
        best,
        ..study.clone()
    };
    let report = StudyReport::new(&ended, results);
    let json = serde_json::to_vec_pretty(&report)?;
    let objects = &resources.objects;
    objects
        .put(&ObjectKey::study_report(study.id), json.into())
        .await?;
    let page = report::page(&report).into();
    objects
        .put(&ObjectKey::study_report_page(study.id), page)
        .await?;
    let best = best.and_then(|trial| study.run(trial));
    if let Some(run) = &best {
        publish(resources, run).await?;
    }
    for run in study.indices().filter_map(|trial| study.run(trial)) {
        if best.as_ref().is_none_or(|best| best.id != run.id) {
            checkpoint::clear(objects, run.id).await?;
        }
    }
    resources.studies.update_study(&ended).await?;
    let best = best.map(|run| run.id.to_string());
    tracing::info!(study = %study.id, network = %study.network, state = %ended.state, best, "the study has ended");
    Ok(())
}

/// Makes the best trial's run one that the catalog lists. Both steps change nothing if they were
/// done before, even if the run has been published since.
async fn publish(resources: &Resources, run: &Run) -> Result<()> {
    resources.library.create_run(run).await?;
    Ok(resources.leases.offer_work(&Work::Train(run.id)).await?)
}

fn why_all_failed(study: &Study, results: &[TrialResult]) -> String {
    let errors = results.iter().filter_map(|result| match &result.outcome {
        TrialOutcome::Scored { .. } => None,
        TrialOutcome::Failed { error } => Some(error.as_str()),
    });
    let trials = study.trials.len();
    let first = errors.into_iter().next().unwrap_or("no error is recorded");
    format!(
        "none of the {trials} trials could be trained to its end. The first one that failed: {first}"
    )
}

#[cfg(test)]
mod tests;
