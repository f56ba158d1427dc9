//! Keys, and objects under them.

use std::sync::Arc;

use bytes::Bytes;
use maskline_messages::ObjectKey;
use maskline_storage::ObjectStore;

pub fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

pub fn names_of(keys: &[ObjectKey]) -> Vec<&str> {
    keys.iter().map(ObjectKey::as_str).collect()
}

pub async fn put_all(store: &Arc<dyn ObjectStore>, names: &[&str]) {
    for name in names {
        let bytes = Bytes::copy_from_slice(name.as_bytes());
        store.put(&key(name), bytes).await.unwrap();
    }
}
