//! The report of a finished run: [`Report`] for programs, and a [`page`] for people.

mod by_faces;
mod by_source;
mod calibration;
mod contents;
mod curves;
mod dataset;
mod learning;
mod page;
mod robustness;
mod text;
mod thumbnails;
mod warnings;

pub(crate) use contents::{Measured, Report};
pub(crate) use page::{STYLE, page};
pub(crate) use text::percent;
pub(crate) use thumbnails::thumbnails;
