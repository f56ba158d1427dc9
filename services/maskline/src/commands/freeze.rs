//! `maskline freeze`: a version of a collection as it is now.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use maskline_messages::{CollectionName, RequestId};
use maskline_storage::{
    Catalog,
    records::{Collection, TrainingWish, Work},
};
use serde::Serialize;

use super::training_args::TrainArgs;
use crate::{
    collection_view::{self, CollectionView},
    connection::ConnectionArgs,
    job_progress::HINT_AFTER,
    job_summary, lookup, output,
    run_view::{self, RunView},
    run_wait,
};

/// How often `--wait` reads the catalog.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(crate) struct Freeze {
    /// The collection
    #[arg(value_name = "COLLECTION")]
    name: CollectionName,
    #[command(flatten)]
    train: TrainArgs,
    /// Wait until the collection is frozen and the runs on it have ended, and print what is in it
    #[arg(long)]
    wait: bool,
    /// Print the collection as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// A collection that was frozen, and the runs that were asked for. `--json` prints it as a line.
#[derive(Serialize)]
struct Frozen {
    #[serde(flatten)]
    collection: CollectionView,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runs: Vec<RunView>,
}

impl Freeze {
    /// Offers the freezing to the storers. If nothing has changed since the newest version,
    /// they make no other.
    pub(crate) async fn run(self) -> Result<()> {
        let mut settings = self.train.choices()?;
        let stores = self.connection.stores().await?;
        settings.start = self.train.start(&stores).await?;
        let methods = &self.train.methods;
        let catalog = stores.catalog.as_ref();
        let before = lookup::collection(catalog, &self.name).await?;
        if !methods.is_empty() {
            let wish = TrainingWish {
                id: RequestId::draw(),
                networks: methods.clone(),
                settings: settings.clone(),
            };
            catalog.request_training(&self.name, &wish).await?;
        }
        let freezing = Work::Freeze(self.name.clone());
        catalog.offer_work_again(&freezing).await?;
        if !self.wait {
            let view = collection_view::view(catalog, before).await?;
            return match self.json {
                true => output::print_json(&view),
                false => output::print(asked(&view)),
            };
        }
        let after = self.wait_until_frozen(catalog, &freezing).await?;
        let is_new = after.latest().map(|newest| newest.number)
            != before.latest().map(|newest| newest.number);
        let newest = after.latest_kept().map(|version| version.dataset);
        let runs = match newest {
            Some(dataset) if !methods.is_empty() => {
                let ids = run_wait::ids(&dataset, methods, &settings);
                if !is_new {
                    // The same runs may have failed before.
                    run_wait::reopen_failed(catalog, &ids).await?;
                }
                run_wait::wait_for_end(catalog, &ids).await?
            }
            _ => vec![],
        };
        let frozen = Frozen {
            collection: collection_view::view(catalog, after).await?,
            runs,
        };
        match self.json {
            true => output::print_json(&frozen)?,
            false => output::print(text(&frozen, is_new))?,
        }
        output::told_above(run_view::succeeded(&frozen.runs), self.json)
    }

    /// Waits until the freezing is done. It is an error if the collection can't be frozen.
    async fn wait_until_frozen(
        &self,
        catalog: &dyn Catalog,
        freezing: &Work,
    ) -> Result<Collection> {
        let began = Instant::now();
        let mut hinted = false;
        loop {
            let open = catalog.open_work(freezing.kind()).await?;
            if open.iter().all(|lease| lease.work != *freezing) {
                break;
            }
            if !hinted && began.elapsed() >= HINT_AFTER {
                let collection = lookup::collection(catalog, &self.name).await?;
                let view = collection_view::view(catalog, collection).await?;
                for sentence in collection_view::waiting(&[view]) {
                    output::note(sentence);
                }
                output::note(format!(
                    "{} is not frozen yet: does `maskline run` run with the same --data or \
                     --broker?",
                    self.name
                ));
                hinted = true;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let collection = lookup::collection(catalog, &self.name).await?;
        match &collection.error {
            Some(error) => bail!("{} can't be frozen: {error}", self.name),
            None => Ok(collection),
        }
    }
}

/// What comes of the request if nobody waits.
fn asked(view: &CollectionView) -> String {
    let name = &view.name;
    let mut lines = vec![format!(
        "The services are asked to freeze {name}. They do it when nothing of it is in flight, and \
         make no version if nothing has changed: `maskline collections` shows the newest, and \
         --wait waits for it."
    )];
    lines.extend(collection_view::waiting(std::slice::from_ref(view)));
    lines.join("\n")
}

/// What has come of it in the end.
fn text(frozen: &Frozen, is_new: bool) -> String {
    let Frozen { collection, runs } = frozen;
    let table = collection_view::table(std::slice::from_ref(collection));
    let mut lines = vec![table.to_string()];
    if let Some(newest) = &collection.latest {
        if !is_new {
            lines.push(format!(
                "Nothing has changed since {}, so there is no new version.",
                newest.version
            ));
        }
        lines.extend(newest.remarks.iter().cloned());
    }
    lines.push(job_summary::training(runs));
    lines.join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use maskline_messages::{DatasetId, JobId};

    use super::*;
    use crate::collection_view::VersionView;

    fn frozen(waits_for: Vec<JobId>) -> Frozen {
        Frozen {
            collection: CollectionView {
                name: "masks".parse().unwrap(),
                classes: vec![],
                sources: 1,
                images: 8,
                in_flight: 0,
                versions: 3,
                latest: Some(VersionView {
                    version: "masks@3".parse().unwrap(),
                    dataset: DatasetId::of(b"a dataset"),
                    images: BTreeMap::new(),
                    model: None,
                    remarks: vec!["All is of one class.".to_owned()],
                }),
                waits_for,
                error: None,
                created: 0,
            },
            runs: vec![],
        }
    }

    #[test]
    fn the_answer_says_whether_there_is_a_new_version_and_what_is_wrong_with_it() {
        let unchanged = text(&frozen(vec![]), false);
        assert!(
            unchanged.contains("Nothing has changed since masks@3"),
            "{unchanged}"
        );
        let new = text(&frozen(vec![]), true);
        assert!(!new.contains("Nothing has changed"), "{new}");
        assert!(new.ends_with("All is of one class."), "{new}");
    }

    #[test]
    fn who_does_not_wait_is_told_what_the_freezing_waits_for() {
        let job = JobId::draw();
        let asked = asked(&frozen(vec![job]).collection);
        assert!(asked.contains(&job.to_string()), "{asked}");
    }
}
