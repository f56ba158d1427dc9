//! `maskline datasets review`: the images of a dataset whose labels are worth a look.

use anyhow::{Context, Result};
use clap::Args;
use maskline_dataset::{Manifest, Row, Shard, Split};
use maskline_foundation::text::printable;
use maskline_messages::{DatasetId, ImageId, Label, ObjectKey};
use maskline_storage::{Catalog, ObjectStore, Stores};
use serde::Serialize;

use crate::{connection::ConnectionArgs, lookup, output};

#[derive(Debug, Args)]
pub(super) struct Review {
    /// A version such as masks@1, a collection (its newest version), or the id of a dataset or
    /// its beginning
    dataset: String,
    /// Print each image as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// An image to look at, as `--json` prints it.
#[derive(Debug, PartialEq, Serialize)]
struct Reviewed {
    image: ImageId,
    label: Label,
    split: Split,
    /// The number of faces in the picture.
    faces: usize,
    /// Where it was found, as far as the catalog knows it.
    location: Option<String>,
}

impl Review {
    /// Prints the images with several faces. Their label may be that of any of them.
    pub(super) async fn run(self) -> Result<()> {
        let stores = self.connection.stores().await?;
        let dataset = lookup::dataset(stores.catalog.as_ref(), &self.dataset).await?;
        let manifest = manifest(&*stores.objects, &dataset).await?;
        let mut found = 0_u64;
        for (&split, of_split) in &manifest.splits {
            for shard in &of_split.shards {
                for row in rows(&*stores.objects, &manifest, shard).await? {
                    if let Some(reviewed) = self.reviewed(&stores, &manifest, split, &row).await? {
                        found += 1;
                        self.print(&reviewed)?;
                    }
                }
            }
        }
        if found == 0 && !self.json {
            output::note("No picture of this dataset has several faces.");
        }
        Ok(())
    }

    async fn reviewed(
        &self,
        stores: &Stores,
        manifest: &Manifest,
        split: Split,
        row: &Row,
    ) -> Result<Option<Reviewed>> {
        let Some(reviewed) = to_review(manifest, split, row) else {
            return Ok(None);
        };
        let location = location(stores.catalog.as_ref(), &row.image).await?;
        Ok(Some(Reviewed {
            location,
            ..reviewed
        }))
    }

    fn print(&self, reviewed: &Reviewed) -> Result<()> {
        match self.json {
            true => output::print_json(reviewed),
            false => output::print(reviewed.line()),
        }
    }
}

impl Reviewed {
    /// `location: label, so many faces (split, id)`. Others wrote the location, so nothing in it moves
    /// the cursor of a terminal.
    fn line(&self) -> String {
        let Self {
            image,
            label,
            split,
            faces,
            location,
        } = self;
        let location = location.as_deref().unwrap_or("an image that was removed");
        printable(&format!(
            "{location}: {label}, {faces} faces ({split}, {image})"
        ))
    }
}

/// The image of a row, without its location. `None` if nothing speaks against its label.
fn to_review(manifest: &Manifest, split: Split, row: &Row) -> Option<Reviewed> {
    let faces = row.faces.as_ref().map_or(0, Vec::len);
    (faces > 1).then(|| Reviewed {
        image: row.image,
        label: manifest.classes[row.class].clone(),
        split,
        faces,
        location: None,
    })
}

async fn manifest(objects: &dyn ObjectStore, dataset: &DatasetId) -> Result<Manifest> {
    let unreadable = || format!("the manifest of dataset {dataset}");
    let json = objects.get(&ObjectKey::manifest(dataset)).await;
    Manifest::from_json(&json.with_context(unreadable)?).with_context(unreadable)
}

/// The rows of a shard.
async fn rows(objects: &dyn ObjectStore, manifest: &Manifest, shard: &Shard) -> Result<Vec<Row>> {
    let parquet = objects.get(&manifest.shard_key(shard)?).await?;
    let classes = manifest.classes.len();
    let reading = tokio::task::spawn_blocking(move || maskline_dataset::read(parquet, classes));
    reading.await?.with_context(|| shard.file.clone())
}

/// Where an image was found first.
async fn location(catalog: &dyn Catalog, image: &ImageId) -> Result<Option<String>> {
    let candidates = catalog.candidates_of(image).await?;
    let first = candidates.first();
    Ok(first.map(|candidate| candidate.location.shown()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use maskline_dataset::LAYOUT_VERSION;
    use maskline_messages::{Bounds, Face, Point, SplitSettings};

    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            version: LAYOUT_VERSION,
            dataset: DatasetId::of(b"a dataset"),
            classes: ["with_mask", "without_mask"]
                .map(|class| class.parse().unwrap())
                .to_vec(),
            splits: [].into(),
            split_settings: SplitSettings::default(),
            near_duplicate_groups: 0,
            set_aside: 0,
        }
    }

    fn face() -> Face {
        Face {
            bounds: Bounds {
                left: 0.1,
                top: 0.1,
                width: 0.2,
                height: 0.2,
            },
            score: 0.9,
            key_points: [Point { x: 0.2, y: 0.2 }; 6].into(),
        }
    }

    fn row(faces: Option<usize>) -> Row {
        let image = ImageId::of(b"a picture");
        Row {
            image,
            class: 1,
            jpeg: Bytes::new(),
            width: 2,
            height: 1,
            original: None,
            group: image,
            jobs: vec![],
            faces: faces.map(|count| vec![face(); count]),
        }
    }

    #[test]
    fn pictures_with_several_faces_are_to_be_looked_at() {
        let of = |faces| to_review(&manifest(), Split::Train, &row(faces));
        assert!(
            [None, Some(0), Some(1)]
                .into_iter()
                .all(|faces| of(faces).is_none())
        );
        let two = of(Some(2)).unwrap();
        assert_eq!((two.faces, two.label.as_str()), (2, "without_mask"));
        let found = Reviewed {
            location: Some("/photos/a\u{1b}[2Jb.jpg".to_owned()),
            ..two
        };
        let image = found.image;
        let line = format!("/photos/a\\u{{1b}}[2Jb.jpg: without_mask, 2 faces (train, {image})");
        assert_eq!(found.line(), line);
    }
}
