//! `maskline collections`: the collections and what is in them.

use anyhow::Result;
use clap::Args;

use crate::{collection_view, connection::ConnectionArgs, output};

#[derive(Debug, Args)]
pub(crate) struct Collections {
    /// Print each collection as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Collections {
    pub(crate) async fn run(self) -> Result<()> {
        let stores = self.connection.stores().await?;
        let views = collection_view::views(&*stores.catalog).await?;
        if self.json {
            return views.iter().try_for_each(output::print_json);
        }
        if views.is_empty() {
            return output::print(
                "No collections yet: `maskline enqueue … --collection NAME` makes one.",
            );
        }
        output::print(collection_view::table(&views))?;
        for sentence in collection_view::waiting(&views) {
            output::print(sentence)?;
        }
        Ok(())
    }
}
