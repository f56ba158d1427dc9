//! Removing an image, or what is at an address.

use anyhow::{Result, bail};
use maskline_messages::{ImageId, Location, LocationId};
use maskline_storage::{
    Stores,
    membership::Sources,
    records::{Candidate, CandidateState},
};
use url::Url;

use super::{PAGE, Removal, Wish, finish, has_others};

/// Removes an image, whichever sources have it.
pub(crate) async fn image(stores: &Stores, wish: &Wish, image: ImageId) -> Result<Removal> {
    let name = &wish.collection;
    let sightings = stores.catalog.sightings(name, &[image]).await?;
    let was_removed = stores.catalog.removal(name, &image).await?.is_some();
    if sightings.concat().is_empty() && !was_removed {
        bail!(
            "no source of {name} has image {image}: give the SHA-256 of the file as it was \
             fetched, which is also the column image_id of a dataset"
        );
    }
    let images = [image];
    if !was_removed {
        must_leave_others(stores, wish, &images).await?;
    }
    let removal = remove(stores, wish, &images, 0).await?;
    wipe(stores, wish).await?;
    Ok(removal)
}

/// Removes the images that were fetched from an address or that a page at this address shows,
/// whichever sources have them. What is found there later is rejected.
pub(crate) async fn url(stores: &Stores, wish: &Wish, url: &Url) -> Result<Removal> {
    let name = &wish.collection;
    let catalog = &stores.catalog;
    let place = LocationId::of(&Location::Url(url.clone()));
    let images: Vec<ImageId> = catalog.images_at(name, url).await?.into_iter().collect();
    let was_removed = !catalog.removed_places(name, &[place]).await?.is_empty();
    if images.is_empty() && !was_removed && in_flight_at(stores, wish, url).await?.is_empty() {
        bail!(
            "no source of {name} has an image at this address, or on a page at it: give it as the \
             source does, with everything behind the question mark"
        );
    }
    if !was_removed {
        must_leave_others(stores, wish, &images).await?;
    }
    // The address comes first: a scraper records candidates before it asks whether their address
    // was removed, so that either it knows or this finds them.
    catalog.remove_places(name, &[place]).await?;
    let in_flight = in_flight_at(stores, wish, url).await?;
    let places = in_flight
        .iter()
        .map(|found| LocationId::of(&found.location));
    let places: Vec<LocationId> = places.collect();
    catalog.remove_places(name, &places).await?;
    let ids: Vec<_> = in_flight.iter().map(|found| found.id).collect();
    catalog.remove_candidates(name, &ids).await?;
    let images: Vec<ImageId> = catalog.images_at(name, url).await?.into_iter().collect();
    let removal = remove(stores, wish, &images, ids.len() as u64).await?;
    if wish.purge {
        catalog.erase_candidates(name, &ids).await?;
    }
    wipe(stores, wish).await?;
    Ok(removal)
}

/// Refuses to take the last images out of a collection, unless nothing may be left of them.
async fn must_leave_others(stores: &Stores, wish: &Wish, images: &[ImageId]) -> Result<()> {
    if wish.purge || images.is_empty() {
        return Ok(());
    }
    let name = &wish.collection;
    let jobs = stores.catalog.jobs_of(name).await?;
    let sources = Sources::among(&jobs, &*stores.catalog).await?;
    match has_others(stores, name, &sources, images).await? {
        true => Ok(()),
        false => bail!(
            "no image would be left in {name}: enqueue another source first; if a person asked \
             for it, add --purge"
        ),
    }
}

/// Removes images, and looks at the versions that hold them. `images` are sorted.
async fn remove(
    stores: &Stores,
    wish: &Wish,
    images: &[ImageId],
    on_their_way: u64,
) -> Result<Removal> {
    let name = &wish.collection;
    let catalog = &stores.catalog;
    catalog.remove_images(name, images, wish.purge).await?;
    let removal = finish(stores, wish, images, vec![], on_their_way).await?;
    if wish.purge {
        catalog.erase_images(name, images).await?;
    }
    Ok(removal)
}

async fn wipe(stores: &Stores, wish: &Wish) -> Result<()> {
    if wish.purge {
        stores.catalog.wipe_deleted().await?;
    }
    Ok(())
}

/// The candidates in flight that are to be fetched from an address, or that a page at it shows.
async fn in_flight_at(stores: &Stores, wish: &Wish, url: &Url) -> Result<Vec<Candidate>> {
    let location = Location::Url(url.clone());
    let is_there = |found: &Candidate| {
        found.location == location || found.provenance.landing_page.as_ref() == Some(url)
    };
    let mut there = vec![];
    for job in stores.catalog.jobs_of(&wish.collection).await? {
        let mut last = None;
        loop {
            let in_flight = CandidateState::InFlight;
            let page = stores
                .catalog
                .candidates_in(job.id, in_flight, last, PAGE)
                .await?;
            let is_last = page.len() < PAGE;
            last = page.last().map(|found| found.id);
            there.extend(page.into_iter().filter(is_there));
            if is_last {
                break;
            }
        }
    }
    Ok(there)
}
