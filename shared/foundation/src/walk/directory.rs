//! The names in one directory, in order, however many they are.
//!
//! At most [`BATCH`] names are held at a time: the smallest that were not taken yet. When
//! they are used up, the directory is read again for the following ones.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use crate::regular_file;

/// How many names of a directory are held at a time.
pub(super) const BATCH: usize = 16 << 10;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryKind {
    pub(super) is_directory: bool,
    /// What it is, if it is neither a directory nor a regular file.
    pub(super) other: Option<&'static str>,
    /// The name is that of a symbolic link; the rest describes its target.
    pub(super) is_link: bool,
}

/// A directory that is being read.
#[derive(Debug)]
pub(super) struct Directory {
    /// The path, relative to the root of the walk.
    path: PathBuf,
    /// The next names in order.
    names: VecDeque<(OsString, EntryKind)>,
    /// The last name taken, or the one that the walk begins after.
    after: Option<OsString>,
    /// `names` holds the directory's last names.
    is_complete: bool,
}

impl Directory {
    /// Reads the directory `full`, which has the path `path` below the walk's root.
    /// Begins with the first name after `after`.
    pub(super) fn open(full: &Path, path: PathBuf, after: Option<OsString>) -> io::Result<Self> {
        let mut directory = Self {
            path,
            names: VecDeque::new(),
            after,
            is_complete: false,
        };
        directory.fill(full)?;
        Ok(directory)
    }

    /// The path, relative to the root of the walk.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next name, or `None` after the last. `root` is the walk's.
    pub(super) fn next(&mut self, root: &Path) -> io::Result<Option<(OsString, EntryKind)>> {
        if self.names.is_empty() && !self.is_complete {
            self.fill(&root.join(&self.path))?;
        }
        let next = self.names.pop_front();
        if let Some((name, _)) = &next {
            self.after = Some(name.clone());
        }
        Ok(next)
    }

    /// Reads the directory for the smallest names after the last one taken.
    fn fill(&mut self, full: &Path) -> io::Result<()> {
        let mut names = vec![];
        self.is_complete = true;
        for entry in fs::read_dir(full)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            if is_hidden || self.after.as_ref().is_some_and(|after| name <= *after) {
                continue;
            }
            names.push((name, kind_of(&entry)?));
            if names.len() == 2 * BATCH {
                names.select_nth_unstable_by(BATCH, |a, b| a.0.cmp(&b.0));
                names.truncate(BATCH);
                self.is_complete = false;
            }
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if names.len() > BATCH {
            names.truncate(BATCH);
            self.is_complete = false;
        }
        self.names = names.into();
        Ok(())
    }
}

fn kind_of(entry: &fs::DirEntry) -> io::Result<EntryKind> {
    let own_type = entry.file_type()?;
    let is_link = own_type.is_symlink();
    let target = match is_link {
        true => entry
            .path()
            .metadata()
            .ok()
            .map(|target| target.file_type()),
        false => Some(own_type),
    };
    // A link that leads nowhere is listed as a file, so that it is counted.
    let is_directory = target.is_some_and(|target| target.is_dir());
    let other = target.filter(|target| !target.is_dir() && !target.is_file());
    Ok(EntryKind {
        is_directory,
        other: other.map(regular_file::named),
        is_link,
    })
}
