//! Which of the processes that share the queue are alive.
//!
//! Each process holds a lock on a file of its own beside the queue. The system releases
//! the lock whenever and however the process ends. So a file that another process can
//! lock belongs to a dead one.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use maskline_foundation::private_folder;
use uuid::Uuid;

/// This process. It counts as alive until this value is dropped.
pub struct Process {
    /// Unique among all processes, earlier ones included.
    pub name: String,
    folder: PathBuf,
    _lock: File,
}

impl Process {
    /// `folder` is the same for all processes that share the queue.
    pub fn enter(folder: &Path) -> io::Result<Self> {
        private_folder::create(folder)?;
        let name = Uuid::now_v7().to_string();
        // It is locked before it gets its name, so that nobody sees it unlocked.
        let unnamed = folder.join(format!("{name}.new"));
        let mut options = private_folder::file_options();
        let lock = options.write(true).create_new(true).open(&unnamed)?;
        lock.lock()?;
        fs::rename(&unnamed, folder.join(&name))?;
        Ok(Self {
            name,
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    /// The names of the dead processes that nobody has [forgotten](Process::forget) yet.
    pub fn dead(&self) -> io::Result<Vec<String>> {
        let mut dead = vec![];
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name == self.name || name.ends_with(".new") {
                continue;
            }
            match File::open(entry.path()) {
                Ok(file) => match file.try_lock() {
                    Ok(()) => dead.push(name),
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => return Err(error),
                },
                // Another has just forgotten it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(dead)
    }

    /// Forgets a dead process, after all that it had in hand was given back.
    pub fn forget(&self, name: &str) {
        // Another may have been quicker.
        let _ = fs::remove_file(self.folder.join(name));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.folder.join(&self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_or_has_left_is_not_dead() {
        let folder = tempfile::tempdir().unwrap();
        let here = Process::enter(folder.path()).unwrap();
        let there = Process::enter(folder.path()).unwrap();
        assert_ne!(here.name, there.name);
        assert_eq!(here.dead().unwrap(), [] as [&str; 0]);
        drop(there);
        assert_eq!(here.dead().unwrap(), [] as [&str; 0]);
    }

    #[test]
    fn a_dead_process_is_listed_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let here = Process::enter(folder.path()).unwrap();
        // A killed process leaves its file, without its lock.
        File::create(folder.path().join("killed")).unwrap();
        assert_eq!(here.dead().unwrap(), ["killed"]);
        here.forget("killed");
        assert_eq!(here.dead().unwrap(), [] as [&str; 0]);
    }
}
