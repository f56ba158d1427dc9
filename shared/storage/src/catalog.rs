//! Everything that is known about collections, jobs and images, by role.
//!
//! * [`Collections`], [`Jobs`], [`Candidates`], [`Images`], [`Removals`], [`Leases`],
//!   [`Library`], [`Studies`], [`Quotas`]: what each service uses.
//! * [`Catalog`]: all of them. [`open`] opens one in SQLite or in MongoDB.

mod candidates;
mod collections;
mod images;
mod jobs;
mod leases;
mod library;
mod missing;
mod mongodb;
mod open;
mod quotas;
mod removals;
mod roles;
mod span;
mod sqlite;
mod studies;

pub use candidates::Candidates;
pub use collections::Collections;
pub use images::Images;
pub use jobs::Jobs;
pub use leases::Leases;
pub use library::Library;
pub use open::open;
pub use quotas::Quotas;
pub use removals::Removals;
pub use roles::Catalog;
pub use studies::Studies;
