//! `maskline datasets`: the frozen datasets, what is different between two of them, and the images
//! of one that are worth a look.

mod review;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use comfy_table::Cell;
use maskline_dataset::{Change, Difference, Member, Split, differences, read_members};
use maskline_messages::{DatasetId, ObjectKey};
use maskline_storage::{ObjectStore, records::Dataset};

use crate::{
    connection::ConnectionArgs,
    lookup,
    output::{self, number},
};
use review::Review;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Datasets {
    #[command(subcommand)]
    command: Option<DatasetsCommand>,
    /// Print each dataset as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
enum DatasetsCommand {
    /// List the images whose label is worth a look: pictures with several faces
    Review(Review),
    /// Say which images were added, removed, relabelled and moved between two datasets
    Diff(Diff),
}

#[derive(Debug, Args)]
struct Diff {
    /// A version such as masks@1, a collection (its newest version), or the id of a dataset or
    /// its beginning
    before: String,
    /// The same for the other dataset
    after: String,
    /// Print every difference as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Datasets {
    pub(crate) async fn run(self) -> Result<()> {
        match self.command {
            Some(DatasetsCommand::Diff(diff)) => return diff.run().await,
            Some(DatasetsCommand::Review(review)) => return review.run().await,
            None => {}
        }
        let stores = self.connection.stores().await?;
        let datasets = stores.catalog.datasets(lookup::ALL).await?;
        let location = |id: &DatasetId| stores.objects.locate(&ObjectKey::manifest(id));
        if self.json {
            for dataset in &datasets {
                output::print_located(dataset, location(&dataset.id))?;
            }
            return Ok(());
        }
        if datasets.is_empty() {
            return output::print(
                "No datasets yet: one is frozen when all images of a collection have been processed.",
            );
        }
        let versions = lookup::versions(&*stores.catalog).await?;
        let mut table = output::table(&[
            "version",
            "dataset",
            Split::Train.name(),
            Split::Validation.name(),
            Split::Test.name(),
            "set aside",
            "classes",
            "where",
        ]);
        for dataset in &datasets {
            let classes: Vec<_> = dataset.classes.iter().map(|class| class.as_str()).collect();
            let version = versions.get(&dataset.id);
            let place = match version {
                Some(version) if version.deleted => "deleted".to_owned(),
                _ => location(&dataset.id),
            };
            table.add_row([
                Cell::new(
                    version.map_or_else(|| "-".to_owned(), |version| version.name.to_string()),
                ),
                Cell::new(dataset.id),
                number(images(dataset, Split::Train)),
                number(images(dataset, Split::Validation)),
                number(images(dataset, Split::Test)),
                number(dataset.set_aside),
                Cell::new(classes.join(", ")),
                Cell::new(place),
            ]);
        }
        output::print(table)
    }
}

/// The number of images in one split.
fn images(dataset: &Dataset, split: Split) -> u64 {
    dataset
        .images
        .get(split.name())
        .into_iter()
        .flat_map(|classes| classes.values())
        .sum()
}

impl Diff {
    async fn run(self) -> Result<()> {
        let stores = self.connection.stores().await?;
        let catalog = stores.catalog.as_ref();
        let mut members = vec![];
        for text in [&self.before, &self.after] {
            let dataset = lookup::dataset(catalog, text).await?;
            members.push(read(&*stores.objects, &dataset).await?);
        }
        let after = members.pop().expect("there are two");
        let before = members.pop().expect("there are two");
        let differences = differences(before, after);
        if self.json {
            for difference in differences {
                output::print_json(&difference)?;
            }
            return Ok(());
        }
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for Difference { change, .. } in differences {
            let kind = match change {
                Change::Added { .. } => "added",
                Change::Removed { .. } => "removed",
                Change::Relabelled { .. } => "relabelled",
                Change::Moved { .. } => "moved to another split",
            };
            *counts.entry(kind).or_default() += 1;
        }
        if counts.is_empty() {
            return output::print("The same images, with the same labels, in the same splits.");
        }
        let mut table = output::table(&["change", "images"]);
        for (kind, count) in counts {
            table.add_row([Cell::new(kind), number(count)]);
        }
        output::print(table)
    }
}

/// Reads the members of a dataset.
async fn read(objects: &dyn ObjectStore, dataset: &DatasetId) -> Result<Vec<Member>> {
    let unreadable = || format!("the members of dataset {dataset}");
    let key = ObjectKey::dataset_members(dataset);
    let file = objects.get(&key).await.with_context(unreadable)?;
    let mut members = vec![];
    read_members(file, |member| members.push(member)).with_context(unreadable)?;
    Ok(members)
}
