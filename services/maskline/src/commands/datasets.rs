//! `maskline datasets`: the frozen datasets.

use anyhow::Result;
use clap::Args;
use comfy_table::Cell;
use maskline_dataset::Split;
use maskline_messages::{DatasetId, ObjectKey};
use maskline_storage::records::Dataset;

use crate::{
    connection::ConnectionArgs,
    lookup,
    output::{self, number},
};

#[derive(Debug, Args)]
pub(crate) struct Datasets {
    /// Print each dataset as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Datasets {
    pub(crate) async fn run(self) -> Result<()> {
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
                "No datasets yet: one is frozen when all images of a job have been processed.",
            );
        }
        let mut table = output::table(&[
            "dataset",
            Split::Train.name(),
            Split::Validation.name(),
            "set aside",
            "classes",
            "where",
        ]);
        for dataset in &datasets {
            let classes: Vec<_> = dataset.classes.iter().map(|class| class.as_str()).collect();
            table.add_row([
                Cell::new(dataset.id),
                number(images(dataset, Split::Train)),
                number(images(dataset, Split::Validation)),
                number(dataset.set_aside),
                Cell::new(classes.join(", ")),
                Cell::new(location(&dataset.id)),
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
