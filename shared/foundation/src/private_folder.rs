//! Folders and files that only this user can read: addresses may be signed, and images may show
//! people.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// What the beginnings of the names are in the data folder that maskline gives to files and
/// folders. Only these are mended, since a person may keep other things there.
const OURS: [&str; 5] = ["catalog.db", "kernels", "objects", "queue.db", "weights"];

/// The permissions of others.
const OTHERS: u32 = 0o077;

/// Makes a folder, with those above it that are missing, so that only this user can read what is
/// in it. A folder that is there already stays as it is.
pub fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// How a file is opened that only this user can read, if it is made.
pub fn file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes an empty file if there is none. The file is never opened under its own name: who closes a
/// database's file gives up the locks that others in this process have on it.
pub fn create_file(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let mut unnamed = path.as_os_str().to_owned();
    unnamed.push(format!(".new-{}-{number}", std::process::id()));
    drop(file_options().write(true).create(true).open(&unnamed)?);
    let named = fs::hard_link(&unnamed, path);
    fs::remove_file(&unnamed)?;
    match named {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // The file system has no hard links.
        Err(_) => file_options()
            .append(true)
            .create(true)
            .open(path)
            .map(drop),
        Ok(()) => Ok(()),
    }
}

/// Takes the permissions of others from what an earlier build has put into the data folder, and from
/// the folder itself if it has nothing else in it: a person may have named a folder of other things.
/// Returns whether others could read anything of ours. A folder that is not there, or that others
/// can't enter, is left as it is.
pub fn mend(data: &Path) -> io::Result<bool> {
    let mode = match fs::metadata(data) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        found => found?.mode(),
    };
    if mode & OTHERS == 0 {
        return Ok(false);
    }
    let (mut mended, mut is_ours_alone) = (false, true);
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = |beginning: &str| name.as_encoded_bytes().starts_with(beginning.as_bytes());
        if OURS.into_iter().any(is_ours) {
            mended |= entry.metadata()?.mode() & OTHERS != 0;
            take_from_others(&entry.path())?;
        } else {
            is_ours_alone = false;
        }
    }
    if is_ours_alone {
        // This comes last, so that a process that was killed meanwhile does all of it again.
        fs::set_permissions(data, Permissions::from_mode(mode & !OTHERS))?;
    }
    Ok(mended)
}

/// Does what [`mend`] does, and says so in the log.
#[cfg(feature = "connections")]
pub fn keep(data: &Path) {
    let folder = crate::path_text::shown(data);
    match mend(data) {
        Ok(false) => {}
        Ok(true) => tracing::warn!(
            folder,
            "others could read the data folder of an earlier build: now it is for its owner alone"
        ),
        Err(error) => tracing::warn!(
            folder,
            %error,
            "others can read the data folder, and this process can't change that: let its owner \
             run `chmod -R go= FOLDER`"
        ),
    }
}

/// Takes the permissions of others from a file, or from a folder and all in it. Links are left.
fn take_from_others(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        // Another process deletes what is not needed any more.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.is_symlink() {
        return Ok(());
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            take_from_others(&entry?.path())?;
        }
    }
    let mode = found.mode();
    if mode & OTHERS != 0 {
        match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            set => set?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn nobody_else_can_read_what_is_made_and_a_folder_that_is_there_stays_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        let objects = data.join("objects");
        create(&objects).unwrap();
        assert_eq!((mode(&data), mode(&objects)), (0o700, 0o700));
        set(&data, 0o755);
        create(&data).unwrap();
        assert_eq!(mode(&data), 0o755);
        let file = data.join("catalog.db");
        create_file(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
        fs::write(&file, "content").unwrap();
        create_file(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"content");
        assert_eq!(fs::read_dir(&data).unwrap().count(), 2);
    }

    #[test]
    fn the_folder_of_an_earlier_build_is_mended_once() {
        let data = tempfile::tempdir().unwrap();
        let path = |name: &str| data.path().join(name);
        fs::create_dir_all(path("objects/raw/ab")).unwrap();
        let ours = ["objects/raw/ab/1", "queue.db", "queue.db-wal"];
        for file in ours.iter().chain(&["notes.sh"]) {
            fs::write(path(file), "").unwrap();
            set(&path(file), 0o755);
        }
        set(&path("objects"), 0o777);
        std::os::unix::fs::symlink(path("notes.sh"), path("objects/link")).unwrap();
        set(data.path(), 0o755);
        assert!(mend(data.path()).unwrap());
        assert!(!mend(data.path()).unwrap());
        for file in ours
            .iter()
            .chain(&["objects", "objects/raw", "objects/raw/ab"])
        {
            assert_eq!(mode(&path(file)), 0o700, "{file}");
        }
        let others = [mode(&path("notes.sh")), mode(data.path())];
        assert_eq!(others, [0o755; 2], "they are not ours alone");
        fs::remove_file(path("notes.sh")).unwrap();
        assert!(!mend(data.path()).unwrap());
        assert_eq!(mode(data.path()), 0o700);
        assert!(!mend(&path("nothing")).unwrap());
    }

    #[test]
    fn a_folder_that_somebody_has_just_made_is_taken_without_a_word() {
        let data = tempfile::tempdir().unwrap();
        set(data.path(), 0o755);
        assert!(!mend(data.path()).unwrap());
        assert_eq!(mode(data.path()), 0o700);
    }
}
