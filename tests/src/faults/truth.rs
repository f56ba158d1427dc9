//! What a job must end as, whatever happens to it.

use std::{collections::BTreeMap, sync::Arc};

use maskline_messages::DatasetId;
use tokio::sync::Mutex;

use super::Trial;
use crate::{
    collection::{Collection, books_of},
    place::Place,
    process::Pipeline,
    site::{Manners, Site},
};

/// A collection and what becomes of it when nothing is disturbed.
pub struct Truth {
    pub collection: Collection,
    pub dataset: DatasetId,
}

/// Those that are known, by the trial's seed and faces.
static KNOWN: Mutex<BTreeMap<(u64, u64), Arc<Truth>>> = Mutex::const_new(BTreeMap::new());

impl Truth {
    /// Of the trial's collection.
    pub async fn of(trial: &Trial) -> Arc<Self> {
        let mut known = KNOWN.lock().await;
        let key = (trial.seed, trial.dose.faces);
        if let Some(truth) = known.get(&key) {
            return truth.clone();
        }
        let collection = Collection::of_the_web(trial.seed, trial.dose.faces);
        trial.say(format_args!(
            "{} candidates, at first undisturbed",
            collection.entries.len() + collection.lines.len()
        ));
        let truth = Arc::new(Self::found(collection).await);
        known.insert(key, truth.clone());
        truth
    }

    /// What an undisturbed run makes of a collection.
    pub async fn found(collection: Collection) -> Self {
        let dataset = undisturbed(&collection).await;
        Self {
            collection,
            dataset,
        }
    }
}

/// The dataset that one of each service makes of it on one machine.
async fn undisturbed(collection: &Collection) -> DatasetId {
    let place = Place::embedded();
    let site = Site::serve(collection, Manners::default()).await;
    let pipeline = Pipeline::start(&place, &Pipeline::STAGES).await;
    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let job = place.json(&args).await.remove(0);
    pipeline.stop().await;
    assert_eq!(books_of(&job), collection.books(), "undisturbed");
    let dataset = job["dataset"].as_str().expect("it was frozen");
    dataset.parse().expect("a dataset id")
}
