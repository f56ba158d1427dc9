//! Where things live: raw and derived bytes in an [`ObjectStore`], everything
//! that is known about them in a [`Catalog`].

pub mod catalog;
pub mod error;
pub mod lease;
pub mod objects;
pub mod records;

pub use catalog::Catalog;
pub use error::StorageError;
pub use objects::ObjectStore;
