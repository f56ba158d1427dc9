//! The freezer as the runner sees it.

mod collections;
mod complete;
mod environment;
mod removed;
mod replayed;
mod stopped;
mod written_once;
