//! The collections, their indexes and their version.
//!
//! Ids are text (UUIDs with hyphens, SHA-256 in hexadecimal), so that their order
//! is that of the ids and a person can read them. Each document's `_id` is derived:
//!
//! | collection | `_id` | contains |
//! |---|---|---|
//! | `collections` | the collection's name | the record, and how often it was opened (`generation`) |
//! | `jobs`, `candidates`, `datasets`, `runs`, `models`, `studies` | the record's id | the record; a job's also how often it was opened again (`reopened`), a candidate's its `page` and the id of its location (`place`) |
//! | `trial_results` | `STUDY/TRIAL/RUNG` | what came of a rung of a trial (`outcome`) |
//! | `ledger` | a candidate's id, the first of its page | what a page of a job's candidates counts, see [`super::ledger`] |
//! | `images` | `COLLECTION/IMAGE` | the pixels (`binary`), the label, the measurements |
//! | `claims` | `COLLECTION/IMAGE` | which candidate stands for the bytes; none if the image was removed, and then whether it was `purged` |
//! | `removed_places` | `COLLECTION/LOCATION` | nothing else: what is found at this location is rejected |
//! | `leases` | `KIND/ID` | who holds the work, its beat, its failures, whether it is done |
//! | `quotas` | the quota's key | how often something was done by all processes, the `revision` of that, and from when on it says nothing (`idle_from`) |
//! | `versions` | `catalog` | the version of these documents |

use futures::future::try_join_all;
use mongodb::{
    IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};

use super::{connection::Connection, migrations::migrate};
use crate::error::StorageError;

pub(super) const COLLECTIONS: &str = "collections";
pub(super) const JOBS: &str = "jobs";
pub(super) const CANDIDATES: &str = "candidates";
pub(super) const LEDGER: &str = "ledger";
pub(super) const CLAIMS: &str = "claims";
pub(super) const IMAGES: &str = "images";
pub(super) const REMOVED_PLACES: &str = "removed_places";
pub(super) const LEASES: &str = "leases";
pub(super) const QUOTAS: &str = "quotas";
pub(super) const DATASETS: &str = "datasets";
pub(super) const RUNS: &str = "runs";
pub(super) const MODELS: &str = "models";
pub(super) const STUDIES: &str = "studies";
pub(super) const TRIAL_RESULTS: &str = "trial_results";

/// Brings the documents to this version, and makes the indexes if they are missing.
pub(super) async fn prepare(connection: &Connection) -> Result<(), StorageError> {
    migrate(connection).await?;
    let making = indexes().into_iter().map(|(name, indexes)| async move {
        let collection = connection.collection(name);
        let making = collection.create_indexes(indexes);
        connection.run("createIndexes", name, making).await
    });
    try_join_all(making).await.map(drop)
}

fn indexes() -> Vec<(&'static str, Vec<IndexModel>)> {
    let by_age = || index("by_age", doc! { "created": -1, "_id": -1 });
    vec![
        (COLLECTIONS, vec![by_age()]),
        (
            JOBS,
            vec![
                by_age(),
                index("by_state", doc! { "collection": 1, "state": 1, "_id": 1 }),
                // Without the state, so that a job that changes it is in every listing.
                index(
                    "by_collection",
                    doc! { "collection": 1, "created": 1, "_id": 1 },
                ),
            ],
        ),
        (
            CANDIDATES,
            vec![
                // It also answers in one step whether any candidate is in flight.
                index("by_state", doc! { "job": 1, "state": 1, "_id": 1 }),
                // Pages are counted in this index alone.
                index("by_page", doc! { "page": 1, "state": 1, "reason.code": 1 }),
                // Finds the candidates of a collection that have the same bytes.
                of_fetched(
                    "by_collection_and_image",
                    doc! { "collection": 1, "image": 1 },
                ),
                of_fetched("by_image", doc! { "image": 1 }),
                of_fetched("by_place", doc! { "collection": 1, "place": 1 }),
                of_fetched(
                    "by_landing_page",
                    doc! { "collection": 1, "provenance.landing_page": 1 },
                ),
            ],
        ),
        (
            LEDGER,
            vec![index("by_job", doc! { "job": 1, "open": 1, "_id": 1 })],
        ),
        (
            LEASES,
            vec![index("by_kind", doc! { "kind": 1, "done": 1, "id": 1 })],
        ),
        (QUOTAS, vec![index("by_idleness", doc! { "idle_from": 1 })]),
        (DATASETS, vec![by_age()]),
        (
            RUNS,
            vec![
                by_age(),
                index(
                    "by_dataset",
                    doc! { "dataset": 1, "created": -1, "_id": -1 },
                ),
            ],
        ),
        (MODELS, vec![by_age()]),
        (
            TRIAL_RESULTS,
            vec![index(
                "by_study",
                doc! { "study": 1, "rung": 1, "trial": 1 },
            )],
        ),
    ]
}

fn index(name: &str, keys: Document) -> IndexModel {
    let options = IndexOptions::builder().name(name.to_owned()).build();
    IndexModel::builder().keys(keys).options(options).build()
}

/// An index without the candidates that were never fetched.
fn of_fetched(name: &str, keys: Document) -> IndexModel {
    let options = IndexOptions::builder()
        .name(name.to_owned())
        .partial_filter_expression(doc! { "image": { "$exists": true } })
        .build();
    IndexModel::builder().keys(keys).options(options).build()
}
