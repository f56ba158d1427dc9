//! Real photographs for tests, which are not part of the repository.

use std::path::{Path, PathBuf};

/// The folder `shared/data` beside the repository. It is `None` where there is none; a test
/// that needs it then passes without checking anything.
pub fn folder() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let folder = repository.parent()?.join("shared/data");
    folder.is_dir().then_some(folder)
}
