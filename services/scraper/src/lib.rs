//! The scraper: from a source to the raw bytes of the images in it.
//!
//! * [`expand`]: a source becomes candidates, a step at a time. Each step is a message on a
//!   queue of the scraper's own, so that many scrapers can share one large source.
//! * [`fetch`]: a candidate becomes the bytes of its image, politely and safely.
//! * `stage`: both, as a stage of the pipeline.
//! * `turns`: which of several expansions holds what it reads in memory.
//! * [`download()`]: a file for a command, by the same rules.
//! * `gzip`: the decoder of gzip, for files and for the bodies of answers.
//! * `html_parser`: the parser of web pages, with its limits.

mod args;
mod download;
pub mod expand;
pub mod fetch;
mod gzip;
mod html_parser;
mod stage;
mod turns;

pub use args::{Args, FetchArgs, service};
pub use download::{DownloadArgs, download};
pub use expand::search::SearchArgs;

/// The service's name.
pub const NAME: &str = "scraper";
