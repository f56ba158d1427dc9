//! The report of a finished run: [`Report`] for programs, and a [`page`] for people.

mod contents;
mod curves;
mod page;
mod thumbnails;

pub(crate) use contents::Report;
pub(crate) use page::page;
pub(crate) use thumbnails::thumbnails;
