//! The result that a job must have, whatever happens to it.

use std::{collections::BTreeMap, sync::Arc};

use maskline_messages::DatasetId;
use maskline_test_support::environment::Environment;
use tokio::sync::Mutex;

use super::trial::Trial;
use crate::{
    collection::{Collection, counts_of},
    process::Pipeline,
    site::{Behaviour, Site},
};

/// A collection, and the dataset that an undisturbed run makes of it.
pub struct Expected {
    pub collection: Collection,
    pub dataset: DatasetId,
}

/// The results that are known already, by the seed and the number of faces.
static KNOWN: Mutex<BTreeMap<(u64, u64), Arc<Expected>>> = Mutex::const_new(BTreeMap::new());

impl Expected {
    /// The result that the jobs of a trial must have. It is found once for each seed and size.
    pub async fn for_trial(trial: &Trial) -> Arc<Self> {
        let mut known = KNOWN.lock().await;
        let key = (trial.seed, trial.amount.faces);
        if let Some(expected) = known.get(&key) {
            return expected.clone();
        }
        let collection = Collection::like_the_web(trial.seed, trial.amount.faces);
        trial.log(format_args!(
            "{} candidates, at first undisturbed",
            collection.entries.len() + collection.bad_lines.len()
        ));
        let expected = Arc::new(Self::from_undisturbed_run(collection).await);
        known.insert(key, expected.clone());
        expected
    }

    /// Runs the collection through the pipeline without any fault.
    pub async fn from_undisturbed_run(collection: Collection) -> Self {
        let dataset = undisturbed(&collection).await;
        Self {
            collection,
            dataset,
        }
    }
}

/// The dataset that one process of each stage makes, with everything embedded.
async fn undisturbed(collection: &Collection) -> DatasetId {
    let environment = Environment::embedded();
    let site = Site::serve(collection, Behaviour::default()).await;
    let pipeline = Pipeline::start(&environment, &Pipeline::STAGES).await;
    let list = site.list();
    let args = ["enqueue", "urls", &list, "--label-from", "column", "--wait"];
    let job = environment.json(&args).await.remove(0);
    pipeline.stop().await;
    assert_eq!(counts_of(&job), collection.counts(), "undisturbed");
    let dataset = job["dataset"].as_str().expect("the job was frozen");
    dataset.parse().expect("a dataset id")
}
