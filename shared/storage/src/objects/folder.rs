//! Objects as files in a folder.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use maskline_foundation::private_folder;
use maskline_messages::ObjectKey;
use tempfile::NamedTempFile;

use super::store::{ObjectStore, Upload, is_prefix};
use crate::error::StorageError;

/// The folder for files that are not whole yet. Its name is no key, because keys have no `~`.
const UNFINISHED: &str = "~unfinished";

/// A file that has been unfinished for so long was left by a process that was killed.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// A folder, on a disk that all processes share.
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens the folder, and makes it if it is missing.
    pub async fn open(root: &Path) -> Result<Self, StorageError> {
        let root = std::path::absolute(root).map_err(|error| unusable(root, error))?;
        let folder = Self { root };
        folder
            .blocking(|root| {
                let unfinished = root.join(UNFINISHED);
                private_folder::create(&unfinished)?;
                remove_abandoned(&unfinished);
                Ok(())
            })
            .await
            .map_err(|(folder, error)| unusable(&folder, error))?;
        Ok(folder)
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, (PathBuf, io::Error)> {
        let root = self.root.clone();
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&root);
            result.map_err(|error| (root, error))
        });
        match done.await {
            Ok(result) => result,
            Err(panic) => Err((self.root.clone(), io::Error::other(panic))),
        }
    }

    async fn on_key<T: Send + 'static>(
        &self,
        key: &ObjectKey,
        work: impl FnOnce(&Path, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let path = self.path(key);
        let done = self.blocking(move |root| work(root, &path)).await;
        done.map_err(|(_, error)| classify(&self.locate(key), error))
    }
}

fn unusable(folder: &Path, error: io::Error) -> StorageError {
    StorageError::misconfigured(format!(
        "the folder {} can't be used for objects: give another with --objects file:PATH",
        folder.display()
    ))
    .caused_by(error)
}

fn classify(what: &str, error: io::Error) -> StorageError {
    match error.kind() {
        // The last two kinds mean that this key is a part of an object's key, or the reverse.
        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
            StorageError::not_found(what)
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StorageError::misconfigured(format!("{what} can't be used: check its permissions"))
        }
        _ => StorageError::unavailable(format!("{what} can't be used now")),
    }
    .caused_by(error)
}

#[async_trait]
impl ObjectStore for Folder {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StorageError> {
        self.on_key(key, move |root, path| write_whole(root, path, &bytes))
            .await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload + '_>, StorageError> {
        let begun = self.on_key(key, |root, _| NamedTempFile::new_in(root.join(UNFINISHED)));
        Ok(Box::new(Unfinished {
            store: self,
            key: key.clone(),
            file: Some(begun.await?),
        }))
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StorageError> {
        self.on_key(key, |_, path| fs::read(path).map(Bytes::from))
            .await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StorageError> {
        match self.on_key(key, |_, path| path.metadata()).await {
            Ok(file) => Ok(file.is_file().then_some(file.len())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        match self.on_key(key, |_, path| fs::remove_file(path)).await {
            Err(error) if error.is_not_found() => Ok(()),
            deleted => deleted,
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectKey>, StorageError> {
        if !is_prefix(prefix) {
            return Ok(vec![]);
        }
        let (prefix, after) = (prefix.trim_matches('/').to_owned(), after.cloned());
        let listed = self
            .blocking(move |root| {
                let mut keys = vec![];
                collect(root, &root.join(&prefix), &mut keys)?;
                Ok(keys)
            })
            .await;
        let mut keys = listed.map_err(|(folder, e)| classify(&folder.to_string_lossy(), e))?;
        keys.retain(|key| after.as_ref().is_none_or(|after| key > after));
        keys.sort_unstable();
        keys.truncate(limit);
        Ok(keys)
    }

    async fn ping(&self) -> Result<(), StorageError> {
        let answer = self.blocking(|root| root.metadata().map(|_| ())).await;
        answer.map_err(|(folder, error)| unusable(&folder, error))
    }

    fn locate(&self, key: &ObjectKey) -> String {
        self.path(key).display().to_string()
    }
}

/// An upload: a file that has no name yet.
struct Unfinished<'a> {
    store: &'a Folder,
    key: ObjectKey,
    /// `None` if a write failed: then the upload can't be finished.
    file: Option<NamedTempFile>,
}

impl Unfinished<'_> {
    fn file(&mut self) -> Result<NamedTempFile, StorageError> {
        let failed = || {
            let path = self.store.locate(&self.key);
            StorageError::internal(format!("{path} goes on after a write that failed"))
        };
        self.file.take().ok_or_else(failed)
    }
}

#[async_trait]
impl Upload for Unfinished<'_> {
    async fn write(&mut self, piece: Bytes) -> Result<(), StorageError> {
        let mut file = self.file()?;
        let written = self.store.on_key(&self.key, move |_, _| {
            file.write_all(&piece)?;
            Ok(file)
        });
        self.file = Some(written.await?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StorageError> {
        let file = self.file()?;
        let naming = move |root: &Path, path: &Path| name(root, path, file);
        self.store.on_key(&self.key, naming).await
    }
}

/// Other processes may remove the same files, so it does no harm if this fails.
fn remove_abandoned(unfinished: &Path) {
    let files = fs::read_dir(unfinished).into_iter().flatten().flatten();
    for file in files {
        let age = file.metadata().and_then(|file| file.modified());
        let age = age.ok().and_then(|modified| modified.elapsed().ok());
        if age.is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Writes a file so that it is there whole or not at all, and durable: it is written
/// elsewhere, flushed and renamed, and the new name is flushed, too. If the same bytes are
/// there already, they are not written again.
fn write_whole(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    if is_there(path, bytes) {
        return Ok(());
    }
    let mut file = NamedTempFile::new_in(root.join(UNFINISHED))?;
    file.write_all(bytes)?;
    name(root, path, file)
}

/// Flushes the file, gives it its name, and flushes the name.
fn name(root: &Path, path: &Path, file: NamedTempFile) -> io::Result<()> {
    let folder = path.parent().unwrap_or(root);
    make_folders(root, folder)?;
    file.as_file().sync_data()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

fn is_there(path: &Path, bytes: &[u8]) -> bool {
    let same_size = path
        .metadata()
        .is_ok_and(|there| there.is_file() && there.len() == bytes.len() as u64);
    same_size && fs::read(path).is_ok_and(|there| there == bytes)
}

/// Makes the folders between `root` and `folder`, and flushes their names.
fn make_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() || folder == root {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(root);
    make_folders(root, parent)?;
    match private_folder::create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| File::open(parent)?.sync_all()),
    }
}

fn collect(root: &Path, folder: &Path, keys: &mut Vec<ObjectKey>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(());
        }
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != UNFINISHED {
                collect(root, &path, keys)?;
            }
            continue;
        }
        // A file whose path is no key was put there by another program.
        let below = path.strip_prefix(root).ok().and_then(Path::to_str);
        keys.extend(below.and_then(|key| key.parse::<ObjectKey>().ok()));
    }
    Ok(())
}
