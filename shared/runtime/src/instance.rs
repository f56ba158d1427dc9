//! The name of this process.

use std::sync::OnceLock;

use uuid::Uuid;

/// A name that no other process has: `service.instance.id` in traces, and the owner of
/// leases.
pub fn instance() -> &'static str {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    INSTANCE.get_or_init(|| Uuid::new_v4().to_string())
}
