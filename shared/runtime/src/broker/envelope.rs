//! A message as a broker sees it.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Header names and values, all text.
pub type Headers = BTreeMap<String, String>;

/// A message as a broker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The routing key.
    pub key: String,
    pub headers: Headers,
    pub body: Bytes,
}
