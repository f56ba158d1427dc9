//! What the demo is made of: drawn faces, the web site that serves them among bad files, the
//! provider of image search that it plays, and the sources that are enqueued.

mod draw;
mod openverse;
pub(crate) mod site;
pub(crate) mod sources;
