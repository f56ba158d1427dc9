//! The report of a finished run: [`Report`] for programs, and a [`page`] for people.

mod by_faces;
mod by_source;
mod calibration;
mod contents;
mod curves;
mod dataset;
mod document;
mod learning;
mod page;
pub(crate) mod plot;
mod robustness;
mod text;
mod thumbnails;
mod warnings;

pub(crate) use contents::{Measured, Report};
pub(crate) use document::document;
pub(crate) use page::page;
pub(crate) use text::percent;
pub(crate) use thumbnails::thumbnails;
