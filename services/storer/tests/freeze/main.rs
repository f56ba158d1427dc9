//! The freezer as the runner sees it.

mod complete;
mod environment;
mod replayed;
mod stopped;
mod written_once;
