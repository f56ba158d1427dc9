//! Logistic regression, for the linear probe and for the shortcut baseline.
//!
//! * `logistic`: the regression.
//! * `selection`: the strength of its regularization, by cross-validation over groups.

mod logistic;
mod selection;

pub(crate) use logistic::Rows;
pub(crate) use selection::choose;
