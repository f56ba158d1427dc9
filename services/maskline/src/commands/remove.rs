//! `maskline remove`: a source or an image leaves a collection.

use anyhow::Result;
use clap::Args;
use maskline_messages::{CollectionName, ImageId};
use url::Url;

use crate::{
    connection::ConnectionArgs,
    lookup, output,
    removal::{self, Removal, Wish},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  maskline remove masks --source 0199a3c2-5d1e
  maskline remove masks --url https://example.org/photo.jpg --purge --versions

It can be stopped at any moment and run again, also while the services run.")]
pub(crate) struct Remove {
    /// The collection
    #[arg(value_name = "COLLECTION")]
    name: CollectionName,
    #[command(flatten)]
    target: Target,
    /// A person's request: leave nothing of the images but that they were removed
    #[arg(long)]
    purge: bool,
    /// Also delete the versions that hold the images
    #[arg(long)]
    versions: bool,
    /// Print what was removed as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// The id of a source's job or its beginning; images that other sources have, too, stay
    #[arg(long, value_name = "JOB")]
    source: Option<String>,
    /// The id of an image, the SHA-256 of the file
    #[arg(long, value_name = "ID")]
    image: Option<ImageId>,
    /// The address of images, or of a page that shows them
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
}

impl Remove {
    pub(crate) async fn run(self) -> Result<()> {
        let stores = self.connection.stores().await?;
        let collection = lookup::collection(&*stores.catalog, &self.name).await?;
        let wish = Wish {
            collection: collection.name,
            purge: self.purge,
            versions: self.versions,
        };
        let Target { source, image, url } = self.target;
        let removal = match (source, image, url) {
            (Some(source), ..) => {
                let job = lookup::job(&*stores.catalog, &source).await?;
                removal::source(&stores, &wish, job).await?
            }
            (_, Some(image), _) => removal::image(&stores, &wish, image).await?,
            (.., Some(url)) => removal::url(&stores, &wish, &url).await?,
            _ => unreachable!("one of them is required"),
        };
        match self.json {
            true => output::print_json(&removal),
            false => output::print(sentences(&wish, &removal)),
        }
    }
}

/// What was removed, and what a person can do about the rest.
fn sentences(wish: &Wish, removal: &Removal) -> String {
    let name = &wish.collection;
    let count = |number: u64, thing: &str| match number {
        1 => format!("1 {thing}"),
        number => format!("{number} {thing}s"),
    };
    let mut lines = vec![];
    let verb = if wish.purge { "Purged" } else { "Removed" };
    let images = count(removal.images, "image");
    lines.push(match removal.jobs.len() {
        0 => format!("{verb} {images} from {name}."),
        1 => format!(
            "{verb} the source from {name}. {images} that no other source has went with it."
        ),
        jobs => format!(
            "{verb} the source from {name}, which was enqueued {jobs} times. {images} that no \
             other source has went with it."
        ),
    });
    if removal.on_their_way > 0 {
        lines.push(format!(
            "{} that had not come to an end were removed, too.",
            count(removal.on_their_way, "candidate")
        ));
    }
    if removal.kept_objects > 0 {
        lines.push(format!(
            "The objects of {} stay, because another collection has them: remove them there, too.",
            count(removal.kept_objects, "image")
        ));
    }
    let versions: Vec<_> = removal.versions.iter().map(ToString::to_string).collect();
    match (versions.join(", "), wish.versions) {
        (versions, _) if versions.is_empty() => lines.push("No version holds them.".to_owned()),
        (versions, true) => lines.push(format!("Deleted with them: {versions}.")),
        (versions, false) => lines.push(format!(
            "These versions hold them: {versions}. The same command with --versions deletes those."
        )),
    }
    lines.push(format!(
        "`maskline freeze {name}` makes the next version without them."
    ));
    lines.join("\n")
}
