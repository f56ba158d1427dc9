//! Opens candidates and jobs again before their dead letters are replayed, so that the job
//! waits for the candidate and no stage ignores it as finished. The states and their changes
//! are drawn in [`maskline_messages::lifecycle`].

use std::collections::{BTreeMap, BTreeSet};

use maskline_messages::{CandidateId, CandidateState, JobId, JobState, Message, lifecycle::Ended};

use crate::{
    catalog::{Candidates, Jobs},
    error::StorageError,
    records::CandidateOutcome,
};

/// The parts of a dead letter that the catalog needs.
#[derive(Debug, Clone, Copy)]
pub struct DeadMessage<'a> {
    /// The id of the dead letter.
    pub id: &'a str,
    /// The stage that gave the message up. Empty if the broker itself did.
    pub stage: &'a str,
    /// The message's JSON.
    pub body: &'a [u8],
}

impl DeadMessage<'_> {
    /// What failed when the message was given up. `None` if no stage gave it up: then
    /// nobody reported a failure.
    fn ended(&self) -> Option<Ended> {
        if self.stage.is_empty() {
            return None;
        }
        Message::from_json(self.body).ok()?.ends()
    }
}

/// The result of [`reopen`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reopened<'a> {
    /// The ids of the dead letters that can be replayed now.
    pub ready: Vec<&'a str>,
    /// The jobs that had ended without what is replayed, and wait for it now.
    pub jobs: BTreeSet<JobId>,
    /// The jobs that are not recorded as failed yet although a step of their expansion was
    /// given up. If the step was replayed now, the job would fail while it is in flight.
    pub early: BTreeSet<JobId>,
}

/// Opens what the dead letters are about. Doing it again changes nothing.
pub async fn reopen<'a>(
    catalog: &(impl Jobs + Candidates + ?Sized),
    dead_letters: impl IntoIterator<Item = DeadMessage<'a>>,
) -> Result<Reopened<'a>, StorageError> {
    let mut reopened = Reopened::default();
    let mut failed: BTreeMap<JobId, Vec<CandidateId>> = BTreeMap::new();
    for dead in dead_letters {
        match dead.ended() {
            Some(Ended::Expansion { job }) if !reopen_expansion(catalog, job, dead.id).await? => {
                reopened.early.insert(job);
                continue;
            }
            Some(Ended::Candidate { job, candidate }) => {
                failed.entry(job).or_default().push(candidate);
            }
            _ => {}
        }
        reopened.ready.push(dead.id);
    }
    for (job, candidates) in failed {
        let before = state(catalog, job).await?;
        catalog.reopen_candidates(job, &candidates).await?;
        let is_open = state(catalog, job).await? == Some(JobState::Running);
        if is_open && matches!(before, Some(JobState::Frozen | JobState::Failed)) {
            reopened.jobs.insert(job);
        }
    }
    Ok(reopened)
}

/// Writes what became of a candidate, given up before or not. A candidate that was given up,
/// and goes on all the same, is opened again first, because its job may have been frozen
/// without it. Returns the state that the candidate is in then: [`CandidateState::Failed`] if
/// it was given up once more in between, or is the candidate of another job.
pub async fn finish_candidate(
    candidates: &(impl Candidates + ?Sized),
    job: JobId,
    outcome: &CandidateOutcome,
) -> Result<CandidateState, StorageError> {
    let state = candidates.finish_candidate(outcome).await?;
    if state != CandidateState::Failed {
        return Ok(state);
    }
    let reopened = [outcome.candidate];
    candidates.reopen_candidates(job, &reopened).await?;
    candidates.finish_candidate(outcome).await
}

/// Returns `false` if the job is not recorded as failed yet.
async fn reopen_expansion(
    jobs: &(impl Jobs + ?Sized),
    job: JobId,
    dead_letter: &str,
) -> Result<bool, StorageError> {
    // If there is no such job, the scraper reports that when it gets the message.
    let Some(record) = jobs.job(job).await? else {
        return Ok(true);
    };
    if record.state == JobState::Expanding {
        return Ok(record.replayed.as_deref() == Some(dead_letter));
    }
    jobs.reopen_expansion(job, dead_letter).await?;
    Ok(true)
}

async fn state(jobs: &(impl Jobs + ?Sized), job: JobId) -> Result<Option<JobState>, StorageError> {
    Ok(jobs.job(job).await?.map(|job| job.state))
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use maskline_messages::{
        CandidateFound, DatasetId, DatasetReady, Location, Source, SourceRequested,
        TrainingSettings,
    };

    use super::*;
    use crate::{
        catalog::{self, Catalog},
        records::{Job, NewCandidate, OutcomeKind, SplitSettings, Work},
    };

    struct Environment {
        catalog: Arc<dyn Catalog>,
        _folder: tempfile::TempDir,
    }

    impl Environment {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("catalog.db");
            let url = format!("sqlite:{}", file.display());
            Self {
                catalog: catalog::open(&url).await.unwrap(),
                _folder: folder,
            }
        }

        /// A job that expands, with one candidate that was given up.
        async fn job(&self) -> (JobId, CandidateFound) {
            let job = Job {
                id: JobId::draw(),
                source: source(),
                labeling: None,
                classes: vec![],
                train: vec![],
                settings: TrainingSettings::default(),
                split: SplitSettings::default(),
                state: JobState::Expanding,
                error: None,
                dataset: None,
                replayed: None,
                traceparent: None,
                created: 1,
            };
            self.catalog.create_job(&job).await.unwrap();
            let location = Location::Path(PathBuf::from("a.jpg"));
            let found = CandidateFound {
                job: job.id,
                candidate: CandidateId::of(job.id, &location),
                location,
                label: None,
            };
            let candidate = NewCandidate {
                id: found.candidate,
                job: job.id,
                location: found.location.clone(),
                label: None,
            };
            self.catalog.add_candidates(&[candidate]).await.unwrap();
            let given_up = CandidateOutcome {
                candidate: found.candidate,
                image: None,
                history: vec![],
                trace_id: None,
                kind: OutcomeKind::Failed {
                    stage: "scraper".to_owned(),
                    error: "boom".to_owned(),
                },
            };
            self.catalog.finish_candidate(&given_up).await.unwrap();
            (job.id, found)
        }

        /// Fails the job, because no image of it is left.
        async fn settle(&self, job: JobId) {
            self.catalog.finish_expansion(job).await.unwrap();
            self.catalog.offer_work(&Work::Freeze(job)).await.unwrap();
            let settled = self.catalog.settled(job).await.unwrap().unwrap();
            let failing = self.catalog.fail_settled(job, "nothing is left", settled);
            failing.await.unwrap();
        }

        async fn state(&self, job: JobId) -> JobState {
            state(&*self.catalog, job).await.unwrap().unwrap()
        }
    }

    fn source() -> Source {
        Source::Folder {
            path: PathBuf::from("/faces"),
        }
    }

    fn step(job: JobId) -> SourceRequested {
        SourceRequested {
            job,
            source: source(),
            labeling: None,
            cursor: None,
            found: 0,
        }
    }

    fn dead<'a>(id: &'a str, body: &'a [u8]) -> DeadMessage<'a> {
        DeadMessage {
            id,
            stage: "scraper",
            body,
        }
    }

    fn json(message: impl Into<Message>) -> Vec<u8> {
        message.into().to_json()
    }

    #[tokio::test]
    async fn a_job_that_had_ended_without_a_candidate_waits_for_it_and_is_named() {
        let environment = Environment::new().await;
        let (job, found) = environment.job().await;
        environment.settle(job).await;
        let body = json(found.clone());
        let dead_letters = [dead("one", &body), dead("two", &body)];
        let reopened = reopen(&*environment.catalog, dead_letters).await.unwrap();
        assert_eq!(reopened.ready, ["one", "two"]);
        assert_eq!(reopened.jobs, BTreeSet::from([job]));
        assert_eq!(environment.state(job).await, JobState::Running);
        let candidate = environment
            .catalog
            .candidate(found.candidate)
            .await
            .unwrap();
        assert_eq!(candidate.unwrap().state, CandidateState::InFlight);

        let again = reopen(&*environment.catalog, dead_letters).await.unwrap();
        assert_eq!((again.ready, again.jobs.len()), (vec!["one", "two"], 0));
    }

    #[tokio::test]
    async fn a_candidate_that_was_given_up_and_goes_on_is_finished_and_its_job_waits() {
        let environment = Environment::new().await;
        let (job, found) = environment.job().await;
        environment.settle(job).await;
        let outcome = CandidateOutcome {
            candidate: found.candidate,
            image: None,
            history: vec![],
            trace_id: None,
            kind: OutcomeKind::Stored,
        };
        let elsewhere = finish_candidate(&*environment.catalog, JobId::draw(), &outcome).await;
        assert_eq!(elsewhere, Ok(CandidateState::Failed), "another job's");
        assert_eq!(environment.state(job).await, JobState::Failed);
        let stored = finish_candidate(&*environment.catalog, job, &outcome).await;
        assert_eq!(stored, Ok(CandidateState::Stored));
        assert_eq!(environment.state(job).await, JobState::Running);
    }

    #[tokio::test]
    async fn a_step_of_an_expansion_is_ready_once_its_job_is_recorded_as_failed() {
        let environment = Environment::new().await;
        let (job, _) = environment.job().await;
        let body = json(step(job));
        let dead_letters = [dead("step", &body)];
        let early = reopen(&*environment.catalog, dead_letters).await.unwrap();
        assert_eq!((early.ready, early.early), (vec![], BTreeSet::from([job])));

        environment.catalog.fail_job(job, "boom").await.unwrap();
        let reopened = reopen(&*environment.catalog, dead_letters).await.unwrap();
        assert_eq!(reopened.ready, ["step"]);
        assert_eq!(environment.state(job).await, JobState::Expanding);

        // The broker was away then, and the dead letter is still there.
        let again = reopen(&*environment.catalog, dead_letters).await.unwrap();
        assert_eq!((again.ready, again.early.len()), (vec!["step"], 0));
        // The step was replayed and given up once more, as another dead letter.
        let other = [dead("other", &body)];
        let early = reopen(&*environment.catalog, other).await.unwrap();
        assert_eq!((early.ready, early.early), (vec![], BTreeSet::from([job])));
    }

    #[tokio::test]
    async fn a_step_that_the_broker_itself_gave_up_is_only_replayed() {
        let environment = Environment::new().await;
        let (job, _) = environment.job().await;
        let body = json(step(job));
        let dead = DeadMessage {
            stage: "",
            ..dead("step", &body)
        };
        let reopened = reopen(&*environment.catalog, [dead]).await.unwrap();
        assert_eq!(reopened.ready, ["step"]);
        assert_eq!(environment.state(job).await, JobState::Expanding);
    }

    #[tokio::test]
    async fn dead_letters_that_ended_nothing_are_only_replayed() {
        let environment = Environment::new().await;
        let unknown = JobId::draw();
        let ready = DatasetReady {
            job: unknown,
            dataset: DatasetId::of(b"a dataset"),
            networks: vec![],
            settings: TrainingSettings::default(),
        };
        let (ready, elsewhere) = (json(ready), json(step(unknown)));
        let dead_letters = [
            dead("broken", b"{ this is no message"),
            dead("ready", &ready),
            dead("of another catalog", &elsewhere),
        ];
        let reopened = reopen(&*environment.catalog, dead_letters).await.unwrap();
        assert_eq!(reopened.ready, ["broken", "ready", "of another catalog"]);
        assert_eq!((reopened.jobs.len(), reopened.early.len()), (0, 0));
    }
}
