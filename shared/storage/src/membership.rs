//! Which images are in a collection now, and with which label: what the sources say of them.
//!
//! A source that was enqueued again is what it is now. The candidates of its earlier jobs count
//! no more, so an image that the source does not have any more leaves the next version, unless
//! another source has it. If some candidates of the later job were given up, nobody knows what
//! the source has now, and the earlier jobs count as well. An image of which two sources say
//! different things is set aside.

use std::collections::{BTreeMap, BTreeSet};

use maskline_messages::{CandidateId, CandidateState, JobId, Label, Reason, SourceRole};

use crate::{
    catalog::Candidates,
    error::StorageError,
    records::{Job, Sighting},
};

/// The jobs whose candidates count, with their order and the role of their source.
pub struct Sources {
    current: BTreeMap<JobId, Current>,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    /// The place of the job among those of the collection, the oldest first.
    place: u32,
    role: SourceRole,
}

/// What the sources of a collection say of an image that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// `None` if the sources contradict each other.
    pub label: Option<Label>,
    /// A test source decides over all others.
    pub role: SourceRole,
    /// The job that found the image first, and its candidate.
    pub first: (JobId, CandidateId),
}

impl Sources {
    /// The sources that count among all jobs of a collection, the oldest first. `has_failures`
    /// says whether candidates of a job were given up.
    pub fn of(jobs: &[Job], has_failures: &BTreeSet<JobId>) -> Self {
        let mut current = BTreeMap::new();
        for (place, job) in (0..).zip(jobs) {
            let mut later = jobs[place as usize + 1..].iter();
            let is_superseded =
                later.any(|later| supersedes(later, job) && !has_failures.contains(&later.id));
            if !is_superseded && !job.is_removed() {
                let role = job.role;
                current.insert(job.id, Current { place, role });
            }
        }
        Self { current }
    }

    /// The jobs that can take the place of an earlier one, among all jobs of a collection, the
    /// oldest first.
    pub fn enqueued_again(jobs: &[Job]) -> impl Iterator<Item = JobId> {
        let is_again = |(place, job): &(usize, &Job)| {
            let mut earlier = jobs[..*place].iter();
            earlier.any(|earlier| supersedes(job, earlier))
        };
        jobs.iter()
            .enumerate()
            .filter(is_again)
            .map(|(_, job)| job.id)
    }

    /// The sources that count among all jobs of a collection, the oldest first. Reads from the
    /// catalog whether candidates of a job were given up.
    pub async fn among(
        jobs: &[Job],
        candidates: &(impl Candidates + ?Sized),
    ) -> Result<Self, StorageError> {
        let mut has_failures = BTreeSet::new();
        for again in Self::enqueued_again(jobs) {
            if candidates.counts(again).await?.failed > 0 {
                has_failures.insert(again);
            }
        }
        Ok(Self::of(jobs, &has_failures))
    }

    /// What the sources say of an image, of which these are the candidates. `None` if none of them
    /// has it any more.
    pub fn membership(&self, sightings: &[Sighting]) -> Option<Membership> {
        let counting = self.counting(sightings);
        let (_, first) = counting
            .iter()
            .min_by_key(|(source, sighting)| (source.place, sighting.candidate))?;
        let labels: BTreeSet<&Label> = counting
            .iter()
            .filter_map(|(_, sighting)| sighting.label.as_ref())
            .collect();
        let mut labels = labels.into_iter();
        let (label, other) = (labels.next(), labels.next());
        let is_test = |(source, _): &(Current, _)| source.role == SourceRole::Test;
        Some(Membership {
            label: label.filter(|_| other.is_none()).cloned(),
            role: match counting.iter().any(is_test) {
                true => SourceRole::Test,
                false => SourceRole::Train,
            },
            first: (first.job, first.candidate),
        })
    }

    /// The jobs whose sources have an image now, the oldest first. These are its candidates.
    pub fn jobs_with(&self, sightings: &[Sighting]) -> Vec<JobId> {
        let counting = self.counting(sightings).into_iter();
        let by_place: BTreeMap<u32, JobId> = counting
            .map(|(source, sighting)| (source.place, sighting.job))
            .collect();
        by_place.into_values().collect()
    }

    /// What counts of all that was seen of an image.
    fn counting<'a>(&self, sightings: &'a [Sighting]) -> Vec<(Current, &'a Sighting)> {
        let is_copy = |sighting: &Sighting| match sighting.state {
            CandidateState::Stored => true,
            CandidateState::Rejected => {
                let reason = sighting.reason.as_deref().unwrap_or_default();
                Reason::COPIES.contains(&reason)
            }
            CandidateState::InFlight | CandidateState::Failed => false,
        };
        let copies = sightings.iter().filter(|sighting| is_copy(sighting));
        copies
            .filter_map(|sighting| Some((*self.current.get(&sighting.job)?, sighting)))
            .collect()
    }
}

/// Says whether a later job is about the same source as an earlier one, and has found everything
/// in it. The source's role may have changed in between.
fn supersedes(later: &Job, earlier: &Job) -> bool {
    later.has_same_source(earlier) && later.expanded && !later.is_removed()
}
