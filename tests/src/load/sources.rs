//! The candidates of a load as several sources of one collection.

use maskline_messages::JobId;
use maskline_storage::{Catalog, records::Counts};
use maskline_test_support::environment::Environment;

use super::generated_site::GeneratedSite;

/// The number of sources.
const SOURCES: u64 = 5;

/// Enqueues `count` addresses of the site as several lists of about the same length. The last of
/// them has the collection frozen.
pub async fn enqueue(environment: &Environment, site: &GeneratedSite, count: u64) -> Vec<JobId> {
    let mut jobs = vec![];
    for numbers in parts(count) {
        let list = site.list(numbers.clone());
        let mut args = vec!["urls", &list, "--label-from", "column"];
        if numbers.end < count {
            args.push("--no-freeze");
        }
        jobs.push(environment.enqueue(&args).await);
    }
    jobs
}

/// The numbers of the candidates of each source.
pub fn parts(count: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..SOURCES).map(move |part| part * count / SOURCES..(part + 1) * count / SOURCES)
}

/// The counts of all sources together, without the reasons.
pub async fn counts(catalog: &dyn Catalog, jobs: &[JobId]) -> Counts {
    let mut all = Counts::default();
    for job in jobs {
        let counts = catalog.counts(*job).await.expect("the counts");
        all.found += counts.found;
        all.stored += counts.stored;
        all.rejected += counts.rejected;
        all.failed += counts.failed;
        all.in_flight += counts.in_flight;
    }
    all
}
