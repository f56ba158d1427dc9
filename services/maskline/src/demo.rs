//! Faces drawn by ourselves, and the dirty web site that serves them.

pub mod draw;
pub mod site;
