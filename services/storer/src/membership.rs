//! Which images are in a collection now, and with which label: what the sources say of them.
//!
//! A source that was enqueued again is what it is now. The candidates of its earlier jobs count
//! no more, so an image that the source does not have any more leaves the next version, unless
//! another source has it. If some candidates of the later job were given up, nobody knows what
//! the source has now, and the earlier jobs count as well. An image of which two sources say
//! different things is set aside.

use std::collections::{BTreeMap, BTreeSet};

use maskline_messages::{CandidateId, CandidateState, JobId, Label, Reason, SourceRole};
use maskline_storage::records::{ImageFacts, Job, Sighting};

/// The jobs whose candidates count, with their order and the role of their source.
pub(crate) struct Sources {
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
pub(crate) struct Membership {
    /// `None` if the sources contradict each other.
    pub(crate) label: Option<Label>,
    /// A test source decides over all others.
    pub(crate) role: SourceRole,
    /// The job that found the image first, and its candidate.
    pub(crate) first: (JobId, CandidateId),
}

impl Sources {
    /// The sources that count among all jobs of a collection, the oldest first. `has_failures`
    /// says whether candidates of a job were given up.
    pub(crate) fn of(jobs: &[Job], has_failures: &BTreeSet<JobId>) -> Self {
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
    pub(crate) fn enqueued_again(jobs: &[Job]) -> impl Iterator<Item = JobId> {
        let is_again = |(place, job): &(usize, &Job)| {
            let mut earlier = jobs[..*place].iter();
            earlier.any(|earlier| supersedes(job, earlier))
        };
        jobs.iter()
            .enumerate()
            .filter(is_again)
            .map(|(_, job)| job.id)
    }

    /// What the sources say of an image. `None` if none of them has it any more.
    pub(crate) fn membership(&self, facts: &ImageFacts) -> Option<Membership> {
        let counting = self.counting(&facts.sightings);
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

    /// The jobs whose sources have an image now, the oldest first.
    pub(crate) fn jobs_with(&self, sightings: &[Sighting]) -> Vec<JobId> {
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
    let is_same = later.source == earlier.source && later.labeling == earlier.labeling;
    is_same && later.expanded && !later.is_removed()
}

#[cfg(test)]
mod tests {
    use maskline_messages::{ImageId, Source};
    use maskline_test_support::records;

    use super::*;

    fn job(folder: &str) -> Job {
        Job {
            source: Source::Folder {
                path: folder.into(),
            },
            expanded: true,
            ..records::job()
        }
    }

    fn test_job(folder: &str) -> Job {
        Job {
            role: SourceRole::Test,
            ..job(folder)
        }
    }

    fn sighting(job: &Job, label: &str) -> Sighting {
        Sighting {
            candidate: CandidateId(job.id.0),
            job: job.id,
            label: Some(label.parse().unwrap()),
            state: CandidateState::Stored,
            reason: None,
        }
    }

    fn copy(job: &Job, label: &str, reason: &str) -> Sighting {
        Sighting {
            state: CandidateState::Rejected,
            reason: Some(reason.to_owned()),
            ..sighting(job, label)
        }
    }

    fn seen(sightings: Vec<Sighting>) -> ImageFacts {
        ImageFacts {
            image: ImageId::of(b"image"),
            width: 1,
            height: 1,
            phash: 0,
            phash_mirrored: 0,
            sightings,
        }
    }

    /// The label and the role of an image.
    fn of(jobs: &[Job], sightings: Vec<Sighting>) -> Option<(Option<String>, SourceRole)> {
        let member = Sources::of(jobs, &BTreeSet::new()).membership(&seen(sightings))?;
        Some((member.label.map(String::from), member.role))
    }

    fn train(label: &str) -> Option<(Option<String>, SourceRole)> {
        Some((Some(label.to_owned()), SourceRole::Train))
    }

    #[test]
    fn an_image_has_the_label_on_which_its_sources_agree() {
        let jobs = [job("a"), job("b"), job("c")];
        let [a, b, c] = &jobs;
        let unlabelled = Sighting {
            label: None,
            ..copy(c, "x", "exact_duplicate")
        };
        let agreed = vec![
            sighting(a, "x"),
            copy(b, "x", "exact_duplicate"),
            unlabelled,
        ];
        assert_eq!(of(&jobs, agreed), train("x"));
        let torn = vec![sighting(a, "x"), copy(b, "y", "exact_duplicate")];
        assert_eq!(of(&jobs, torn), Some((None, SourceRole::Train)));
        let rejected = vec![sighting(a, "x"), copy(b, "y", "too_small")];
        assert_eq!(of(&jobs, rejected), train("x"));
    }

    #[test]
    fn a_source_that_was_enqueued_again_is_what_it_is_now() {
        let (first, mut again, other) = (job("a"), job("a"), job("b"));
        let jobs = [first.clone(), other.clone(), again.clone()];
        let gone = vec![sighting(&first, "x")];
        assert_eq!(of(&jobs, gone.clone()), None);
        let still_there = vec![sighting(&first, "x"), copy(&again, "x", "unchanged")];
        assert_eq!(of(&jobs, still_there), train("x"));
        let relabelled = vec![sighting(&first, "x"), copy(&again, "y", "unchanged")];
        assert_eq!(of(&jobs, relabelled), train("y"));
        let elsewhere = vec![sighting(&first, "x"), copy(&other, "x", "exact_duplicate")];
        assert_eq!(of(&jobs, elsewhere), train("x"));
        // Nobody knows what the source has now.
        again.expanded = false;
        assert_eq!(of(&[first, other, again], gone), train("x"));
    }

    #[test]
    fn a_source_of_which_something_was_given_up_has_what_it_had_before() {
        let (first, again) = (job("a"), job("a"));
        let jobs = [first.clone(), again.clone()];
        assert_eq!(
            Sources::enqueued_again(&jobs).collect::<Vec<_>>(),
            [again.id]
        );
        let given_up = BTreeSet::from([again.id]);
        let sources = Sources::of(&jobs, &given_up);
        assert!(
            sources
                .membership(&seen(vec![sighting(&first, "x")]))
                .is_some()
        );
    }

    #[test]
    fn the_jobs_of_an_image_are_those_of_all_sources_that_have_it_now() {
        let jobs = [job("a"), test_job("b"), job("c"), job("a")];
        let [before, test, other, again] = &jobs;
        let sources = Sources::of(&jobs, &BTreeSet::new());
        let sightings = [
            copy(again, "x", "unchanged"),
            copy(other, "x", "too_small"),
            copy(test, "x", "exact_duplicate"),
            copy(test, "y", "exact_duplicate"),
            sighting(before, "x"),
        ];
        assert_eq!(sources.jobs_with(&sightings), [test.id, again.id]);
        assert!(sources.jobs_with(&[]).is_empty());
    }

    #[test]
    fn a_test_source_decides_over_the_others() {
        let jobs = [job("a"), test_job("b")];
        let both = vec![
            sighting(&jobs[0], "x"),
            copy(&jobs[1], "x", "exact_duplicate"),
        ];
        assert_eq!(
            of(&jobs, both),
            Some((Some("x".to_owned()), SourceRole::Test))
        );
    }

    #[test]
    fn a_removed_source_has_no_images() {
        let mut removed = job("a");
        removed.removed = Some(1);
        let sightings = vec![sighting(&removed, "x")];
        assert_eq!(of(&[removed], sightings), None);
    }
}
