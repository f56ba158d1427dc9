//! The report of a study: [`StudyReport`] for programs, and a [`page`] for people.

mod contents;
mod page;
mod scatter;

pub(super) use contents::StudyReport;
pub(super) use page::page;
