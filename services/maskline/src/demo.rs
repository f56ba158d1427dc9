//! Faces that the demo draws, and the web site that serves them among bad files.

mod draw;
pub(crate) mod site;
