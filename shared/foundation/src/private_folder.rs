//! Folders that only this user can read.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt, path::Path};

/// Makes a folder, with those above it that are missing, so that only this user can read what is
/// in it: addresses may be signed, and images may show people. A folder that is there already
/// stays as it is.
pub fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn mode(folder: &Path) -> u32 {
        fs::metadata(folder).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn nobody_else_can_read_a_folder_that_is_made_and_one_that_is_there_stays_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        let objects = data.join("objects");
        create(&objects).unwrap();
        assert_eq!((mode(&data), mode(&objects)), (0o700, 0o700));
        fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
        create(&data).unwrap();
        assert_eq!(mode(&data), 0o755);
    }
}
