//! What a person types, a module for each group of commands.

pub mod check;
pub mod dead_letters;
pub mod demo;
pub mod enqueue;
pub mod library;
pub mod model;
pub mod run;
pub mod status;
pub mod trace;
