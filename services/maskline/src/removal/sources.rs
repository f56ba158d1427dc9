//! Removing a source.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use maskline_foundation::time::unix_millis;
use maskline_messages::{ImageId, JobId, Reason};
use maskline_storage::{
    Stores,
    membership::Sources,
    records::{Candidate, CandidateState, Job},
};

use super::{PAGE, Removal, Wish, finish, has_others};

/// The states of the candidates of a job that was removed.
const ENDED: [CandidateState; 2] = [CandidateState::Stored, CandidateState::Rejected];

/// Removes the source of a job, with every job by which it was enqueued. Otherwise what an earlier
/// job of the source found would come back.
pub(crate) async fn source(stores: &Stores, wish: &Wish, id: JobId) -> Result<Removal> {
    let name = &wish.collection;
    let jobs = stores.catalog.jobs_of(name).await?;
    let Some(job) = jobs.iter().find(|job| job.id == id) else {
        let job = stores.catalog.job(id).await?;
        let elsewhere = job.context("the job is gone")?.collection;
        bail!("job {id} is a source of {elsewhere}, and not of {name}");
    };
    let same: Vec<&Job> = jobs
        .iter()
        .filter(|other| other.has_same_source(job) && other.is_removed() == job.is_removed())
        .collect();
    let now = unix_millis();
    let removed: Vec<Job> = jobs
        .iter()
        .map(|other| Job {
            removed: match same.iter().any(|same| same.id == other.id) {
                true => Some(now),
                false => other.removed,
            },
            ..other.clone()
        })
        .collect();
    let after = Sources::among(&removed, &*stores.catalog).await?;
    if !job.is_removed() {
        let before = Sources::among(&jobs, &*stores.catalog).await?;
        let has_images = has_others(stores, name, &before, &[]).await?;
        if has_images && !has_others(stores, name, &after, &[]).await? {
            bail!(
                "without job {id} no image would be left in {name}: enqueue another source first, \
                 or wait until the others have brought their images; or leave this collection as \
                 it is, and begin another one"
            );
        }
    }
    let mut on_their_way = 0;
    // The oldest first: a later job of a source stands for the earlier ones until it is removed.
    for job in &same {
        on_their_way += stores.catalog.remove_job(job.id, now, wish.purge).await?;
    }
    let images = images_without_source(stores, wish, &same, &after).await?;
    if wish.purge {
        stores.catalog.remove_images(name, &images, true).await?;
    }
    let ids: Vec<JobId> = same.iter().map(|job| job.id).collect();
    let removal = finish(stores, wish, &images, ids.clone(), on_their_way).await?;
    if wish.purge {
        for job in ids {
            erase(stores, wish, job).await?;
        }
        stores.catalog.wipe_deleted().await?;
    }
    Ok(removal)
}

/// The images of the jobs that no source has which counts, sorted. If nothing may be left, those
/// that were rejected are among them.
async fn images_without_source(
    stores: &Stores,
    wish: &Wish,
    jobs: &[&Job],
    after: &Sources,
) -> Result<Vec<ImageId>> {
    let mut gone = BTreeSet::new();
    for job in jobs {
        for state in ENDED {
            let mut last = None;
            loop {
                let page = stores
                    .catalog
                    .candidates_in(job.id, state, last, PAGE)
                    .await?;
                let images = page.iter().filter(|found| wish.purge || is_sound(found));
                let images: Vec<ImageId> = images.filter_map(|found| found.image).collect();
                let sightings = stores.catalog.sightings(&wish.collection, &images).await?;
                let of_nobody = images
                    .into_iter()
                    .zip(sightings)
                    .filter(|(_, sightings)| after.membership(sightings).is_none());
                gone.extend(of_nobody.map(|(image, _)| image));
                if page.len() < PAGE {
                    break;
                }
                last = page.last().map(|found| found.id);
            }
        }
    }
    Ok(gone.into_iter().collect())
}

/// Says whether the candidate's image was in the collection because of it.
fn is_sound(candidate: &Candidate) -> bool {
    let code = candidate.reason.as_ref().map(Reason::code);
    code.is_none_or(|code| Reason::COPIES.contains(&code))
}

/// Forgets what the candidates of a removed job were.
async fn erase(stores: &Stores, wish: &Wish, job: JobId) -> Result<()> {
    for state in ENDED {
        let mut last = None;
        loop {
            let page = stores.catalog.candidates_in(job, state, last, PAGE).await?;
            let ids: Vec<_> = page.iter().map(|found| found.id).collect();
            stores
                .catalog
                .erase_candidates(&wish.collection, &ids)
                .await?;
            if page.len() < PAGE {
                break;
            }
            last = ids.last().copied();
        }
    }
    Ok(())
}
