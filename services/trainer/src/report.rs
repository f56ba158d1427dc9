//! The report of a finished run: [`Report`] for programs, and a [`page`] for people.

mod by_source;
mod contents;
mod curves;
mod page;
mod text;
mod thumbnails;

pub(crate) use contents::{Measured, Report};
pub(crate) use page::page;
pub(crate) use thumbnails::thumbnails;
