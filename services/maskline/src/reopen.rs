//! What was given up is open again in the books before its dead letter goes back to
//! its queue: so that its job waits for it, and no stage passes it over.

use std::collections::{BTreeMap, BTreeSet};

use maskline_messages::{CandidateId, JobId, Message};
use maskline_runtime::{DeadLetter, DeadLetterId};
use maskline_storage::{Catalog, StorageError, records::JobState};

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reopened {
    /// The letters that can be sent back now.
    pub ready: Vec<DeadLetterId>,
    /// Jobs that had ended without what is sent back, and have not any more.
    pub jobs: BTreeSet<JobId>,
    /// Jobs of which a step was given up and that have not heard of it: they would
    /// hear it after the step was sent back, and fail with it in hand.
    pub early: BTreeSet<JobId>,
}

/// Opens what `letters` are about. Doing it again changes nothing.
pub async fn reopen(
    catalog: &dyn Catalog,
    letters: &[DeadLetter],
) -> Result<Reopened, StorageError> {
    let mut reopened = Reopened::default();
    let mut candidates: BTreeMap<JobId, Vec<CandidateId>> = BTreeMap::new();
    for letter in letters {
        match told(letter) {
            Some(Message::JobFailed(failed))
                if !reopen_expansion(catalog, failed.job, &letter.id).await? =>
            {
                reopened.early.insert(failed.job);
                continue;
            }
            Some(Message::ImageFailed(failed)) => {
                candidates
                    .entry(failed.job)
                    .or_default()
                    .push(failed.candidate);
            }
            _ => {}
        }
        reopened.ready.push(letter.id.clone());
    }
    for (job, candidates) in candidates {
        let before = state(catalog, job).await?;
        catalog.reopen_candidates(job, &candidates).await?;
        let is_open = state(catalog, job).await? == Some(JobState::Running);
        if is_open && matches!(before, Some(JobState::Frozen | JobState::Failed)) {
            reopened.jobs.insert(job);
        }
    }
    Ok(reopened)
}

/// What the books were told when the letter was buried: nothing where no stage did it.
fn told(letter: &DeadLetter) -> Option<Message> {
    if letter.stage.is_empty() {
        return None;
    }
    let message = Message::from_json(&letter.envelope.body).ok()?;
    message.failure(&letter.stage, &letter.error, letter.attempts)
}

/// `false`: the job has not heard yet that it failed.
async fn reopen_expansion(
    catalog: &dyn Catalog,
    job: JobId,
    letter: &DeadLetterId,
) -> Result<bool, StorageError> {
    // Of a job that is not there the scraper says what that means.
    let Some(record) = catalog.job(job).await? else {
        return Ok(true);
    };
    if record.state == JobState::Expanding {
        return Ok(record.replayed.as_deref() == Some(&letter.0));
    }
    catalog.reopen_expansion(job, &letter.0).await?;
    Ok(true)
}

async fn state(catalog: &dyn Catalog, job: JobId) -> Result<Option<JobState>, StorageError> {
    Ok(catalog.job(job).await?.map(|job| job.state))
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use maskline_messages::{
        CandidateFound, DatasetId, DatasetReady, Location, Source, SourceRequested,
        TrainingSettings,
    };
    use maskline_runtime::{
        Envelope,
        broker::{Headers, WhyKind},
    };
    use maskline_storage::{
        catalog,
        records::{
            CandidateOutcome, CandidateState, Job, NewCandidate, OutcomeKind, SplitSettings, Work,
        },
    };

    use super::*;

    struct Place {
        catalog: Arc<dyn Catalog>,
        _folder: tempfile::TempDir,
    }

    impl Place {
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

        /// The job fails, because nothing of it is left.
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

    fn letter(name: &str, body: impl Into<Vec<u8>>) -> DeadLetter {
        DeadLetter {
            id: DeadLetterId(name.to_owned()),
            queue: "scraper.candidates".to_owned(),
            envelope: Envelope {
                key: "candidate.found".to_owned(),
                headers: Headers::new(),
                body: body.into().into(),
            },
            kind: WhyKind::Poison,
            stage: "scraper".to_owned(),
            error: "boom".to_owned(),
            attempts: 1,
            at: 1,
        }
    }

    fn about(name: &str, message: impl Into<Message>) -> DeadLetter {
        letter(name, message.into().to_json())
    }

    fn ids(names: &[&str]) -> Vec<DeadLetterId> {
        let ids = names.iter().map(|name| DeadLetterId((*name).to_owned()));
        ids.collect()
    }

    #[tokio::test]
    async fn a_job_that_had_ended_without_a_candidate_waits_for_it_and_is_named() {
        let place = Place::new().await;
        let (job, found) = place.job().await;
        place.settle(job).await;
        let letters = [about("one", found.clone()), about("two", found.clone())];
        let reopened = reopen(&*place.catalog, &letters).await.unwrap();
        assert_eq!(reopened.ready, ids(&["one", "two"]));
        assert_eq!(reopened.jobs, BTreeSet::from([job]));
        assert_eq!(place.state(job).await, JobState::Running);
        let candidate = place.catalog.candidate(found.candidate).await.unwrap();
        assert_eq!(candidate.unwrap().state, CandidateState::InFlight);

        let again = reopen(&*place.catalog, &letters).await.unwrap();
        assert_eq!((again.ready, again.jobs.len()), (ids(&["one", "two"]), 0));
    }

    #[tokio::test]
    async fn a_step_of_an_expansion_goes_on_once_its_job_has_heard_that_it_failed() {
        let place = Place::new().await;
        let (job, _) = place.job().await;
        let letters = [about("step", step(job))];
        let early = reopen(&*place.catalog, &letters).await.unwrap();
        assert_eq!((early.ready, early.early), (vec![], BTreeSet::from([job])));

        place.catalog.fail_job(job, "boom").await.unwrap();
        let reopened = reopen(&*place.catalog, &letters).await.unwrap();
        assert_eq!(reopened.ready, ids(&["step"]));
        assert_eq!(place.state(job).await, JobState::Expanding);

        // The broker was away then, and the letter is still there.
        let again = reopen(&*place.catalog, &letters).await.unwrap();
        assert_eq!((again.ready, again.early.len()), (ids(&["step"]), 0));
        // It was sent back and given up once more, under a name of its own.
        let other = [about("other", step(job))];
        let early = reopen(&*place.catalog, &other).await.unwrap();
        assert_eq!((early.ready, early.early), (vec![], BTreeSet::from([job])));
    }

    #[tokio::test]
    async fn a_step_that_the_broker_itself_gave_up_is_only_sent_back() {
        let place = Place::new().await;
        let (job, _) = place.job().await;
        let buried = DeadLetter {
            stage: String::new(),
            ..about("step", step(job))
        };
        let reopened = reopen(&*place.catalog, &[buried]).await.unwrap();
        assert_eq!(reopened.ready, ids(&["step"]));
        assert_eq!(place.state(job).await, JobState::Expanding);
    }

    #[tokio::test]
    async fn letters_that_ended_nothing_are_only_sent_back() {
        let place = Place::new().await;
        let unknown = JobId::draw();
        let ready = DatasetReady {
            job: unknown,
            dataset: DatasetId::of(b"a dataset"),
            networks: vec![],
            settings: TrainingSettings::default(),
        };
        let letters = [
            letter("broken", "{ this is no message"),
            about("ready", ready),
            about("of another catalog", step(unknown)),
        ];
        let reopened = reopen(&*place.catalog, &letters).await.unwrap();
        assert_eq!(
            reopened.ready,
            ids(&["broken", "ready", "of another catalog"])
        );
        assert_eq!((reopened.jobs.len(), reopened.early.len()), (0, 0));
    }
}
