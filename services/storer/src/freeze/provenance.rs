//! Where an image comes from, as others may know it.

use maskline_dataset::ExampleProvenance;
use maskline_messages::{JobId, without_secrets};
use maskline_storage::records::{Candidate, Job};
use url::Url;

/// What is known of the image of a candidate. `job` is the candidate's, if it is still known, and
/// `jobs` are all whose sources have the image. A path says something about this machine only, so
/// that it is not given to others.
pub(super) fn provenance(
    candidate: Candidate,
    job: Option<&Job>,
    jobs: Vec<JobId>,
) -> ExampleProvenance {
    let address = |url: Url| without_secrets(&url).into();
    let url = candidate.location.public_address();
    let about = candidate.provenance;
    let fetched = candidate.fetched;
    ExampleProvenance {
        source: job.and_then(|job| job.source.public_name()),
        url,
        landing_page: about.landing_page.map(address),
        title: about.title,
        creator: about.creator,
        license: about.license,
        license_url: about.license_url.map(address),
        attribution: about.attribution,
        fetched: fetched
            .as_ref()
            .and_then(|fetched| i64::try_from(fetched.at).ok()),
        etag: fetched.and_then(|fetched| fetched.etag),
        jobs,
    }
}

#[cfg(test)]
mod tests {
    use maskline_messages::{
        CandidateState, CollectionName, Fetched, Location, Provenance, Source,
    };
    use maskline_test_support::{messages, records};

    use super::*;

    fn candidate(location: Location) -> Candidate {
        let new = records::candidate(messages::JOB, location);
        Candidate {
            id: new.id,
            collection: CollectionName::default(),
            job: new.job,
            location: new.location,
            label: None,
            provenance: Provenance {
                landing_page: Some("https://h/page?sig=hunter2".parse().unwrap()),
                creator: Some("A. Painter".to_owned()),
                ..Provenance::default()
            },
            state: CandidateState::Stored,
            image: None,
            fetched: Some(Fetched {
                at: 7,
                etag: Some("\"5\"".to_owned()),
                last_modified: None,
            }),
            stage: None,
            reason: None,
            error: None,
            history: vec![],
            trace_id: None,
        }
    }

    #[test]
    fn a_dataset_has_no_secrets_and_no_paths() {
        let url = "https://me:hunter2@h/1.jpg?token=hunter2".parse().unwrap();
        let list = "https://me:hunter2@h/list.csv".parse().unwrap();
        let job = Job {
            source: Source::Urls {
                list: Location::Url(list),
                url_column: None,
            },
            ..records::job()
        };
        let found = provenance(candidate(Location::Url(url)), Some(&job), vec![job.id]);
        assert_eq!(found.url.as_deref(), Some("https://h/1.jpg?token=REDACTED"));
        let landing_page = found.landing_page.as_deref();
        assert_eq!(landing_page, Some("https://h/page?sig=REDACTED"));
        assert_eq!(found.source.as_deref(), Some("https://h/list.csv"));
        assert_eq!(
            (found.fetched, found.etag.as_deref()),
            (Some(7), Some("\"5\""))
        );
        assert_eq!(found.jobs, [job.id]);

        let path = candidate(Location::Path("/home/me/1.jpg".into()));
        let found = provenance(path, Some(&records::job()), vec![]);
        assert_eq!((found.url, found.source), (None, None));
        assert_eq!(found.creator.as_deref(), Some("A. Painter"));

        let archive = Location::Url("https://h/a.zip?sig=hunter2".parse().unwrap());
        let member = candidate(Location::Member {
            archive: Box::new(archive.clone()),
            index: 2,
            name: "a.jpg".to_owned(),
        });
        let job = Job {
            source: Source::Archive { archive },
            ..records::job()
        };
        let found = provenance(member, Some(&job), vec![]);
        let address = "https://h/a.zip?sig=REDACTED";
        assert_eq!(found.url, Some(format!("{address}#2:a.jpg")));
        assert_eq!(found.source.as_deref(), Some(address));

        let bucket = "s3://faces?endpoint=http://h:1".to_owned();
        let key = "a/1.jpg".to_owned();
        let object = candidate(Location::S3 { bucket, key });
        let job = Job {
            source: Source::S3 {
                address: "s3://faces/a?endpoint=http://h:1".to_owned(),
            },
            ..records::job()
        };
        let found = provenance(object, Some(&job), vec![]);
        assert_eq!(found.url.as_deref(), Some("s3://faces/a/1.jpg"));
        assert_eq!(found.source.as_deref(), Some("s3://faces/a"));
    }
}
