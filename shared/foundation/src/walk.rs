//! The files of a folder and of all folders in it, in the order of their paths.
//!
//! This is how every command and service searches a folder. Hidden files and folders are passed
//! over. Links are followed within the folder; one that leads out of it, a pipe or a device is an
//! entry with a problem. Names may be any bytes.
//!
//! The crate `walkdir` does not serve here. It holds all names of a folder when it sorts
//! them, and it can't begin in the middle.
//!
//! * [`directory`]: the names in one folder, which may be too many for the memory.

mod directory;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{path_text, regular_file};
use directory::Directory;

/// How deep folders may lie within folders. Deeper ones are no collection of images.
const MAX_DEPTH: usize = 64;

/// How many links to folders are followed one within the other. Without a bound, a few folders with
/// links to each other would have more paths than anybody can walk.
const MAX_LINKS: usize = 2;

/// A file, or something that can't be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path, relative to the root.
    pub path: PathBuf,
    /// Why it can't be read, where that is known.
    pub problem: Option<String>,
}

/// A walk through a folder, somewhere on its way. Paths are compared name by name.
#[derive(Debug)]
pub struct Walk {
    root: PathBuf,
    /// The directories from the root down to the one that is being searched.
    open: Vec<Directory>,
    /// The path of the last entry, relative to the root.
    position: PathBuf,
}

impl Walk {
    /// Begins with the first file after `cursor`.
    pub fn open(root: &Path, cursor: Option<&Path>) -> io::Result<Self> {
        let mut walk = Self {
            root: root.to_owned(),
            open: vec![],
            position: cursor.map(Path::to_owned).unwrap_or_default(),
        };
        let mut names = cursor.into_iter().flat_map(Path::components);
        let first = names.next().map(|name| name.as_os_str().to_owned());
        walk.open
            .push(Directory::open(root, PathBuf::new(), first.clone())?);
        // The walk goes down to the directory that the cursor lies in. If one on the way
        // is gone, it goes on after that one's name.
        let (mut path, mut within) = (PathBuf::new(), first);
        for name in names {
            path.extend(within.take());
            let name = name.as_os_str().to_owned();
            match Directory::open(&root.join(&path), path.clone(), Some(name.clone())) {
                Ok(directory) => walk.open.push(directory),
                Err(_) => break,
            }
            within = Some(name);
        }
        Ok(walk)
    }

    /// The path of the last entry, relative to the root.
    pub fn position(&self) -> &Path {
        &self.position
    }

    /// Goes past `cursor`.
    pub fn skip_to(&mut self, cursor: &Path) {
        while self.position < cursor && self.advance().is_some() {}
    }

    /// Goes on to the next entry.
    fn advance(&mut self) -> Option<Entry> {
        loop {
            let directory = self.open.last_mut()?;
            let (name, kind) = match directory.next(&self.root) {
                Ok(Some(next)) => next,
                Ok(None) => {
                    self.open.pop();
                    continue;
                }
                Err(error) => {
                    // The directory could be read before. What is left of it becomes one
                    // entry, so that it is counted.
                    let path = directory.path().to_owned();
                    self.open.pop();
                    return Some(self.entry(path, Some(unreadable(error))));
                }
            };
            let path = directory.path().join(&name);
            if kind.is_link
                && let Some(problem) = self.leads_out(&path)
            {
                return Some(self.entry(path, Some(problem)));
            }
            if let Some(other) = kind.other {
                let problem = format!("it is {other}, and no regular file");
                return Some(self.entry(path, Some(problem)));
            }
            if !kind.is_directory {
                return Some(self.entry(path, None));
            }
            if let Err(problem) = self.enter(&path) {
                return Some(self.entry(path, Some(problem)));
            }
        }
    }

    fn entry(&mut self, path: PathBuf, problem: Option<String>) -> Entry {
        self.position.clone_from(&path);
        Entry { path, problem }
    }

    /// What is wrong with a link that leads out of the root. People who may write into
    /// the folder must not make the scraper read what they can't read themselves.
    fn leads_out(&self, link: &Path) -> Option<String> {
        // A link that leads nowhere is a file here; fetching it will say what is wrong.
        let target = self.root.join(link).canonicalize().ok()?;
        let root = self.root.canonicalize().ok()?;
        let leads_out = !target.starts_with(&root);
        leads_out.then(|| {
            let target = path_text::shown(&target);
            format!(
                "a link that leads out of the folder, to {target}: \
                 put the images themselves into the folder, or enqueue the other folder"
            )
        })
    }

    /// Goes down into a directory. A link to one of the directories that it lies in is
    /// passed over, since following it would never end.
    fn enter(&mut self, path: &Path) -> Result<(), String> {
        let full = self.root.join(path);
        if full.is_symlink() {
            let target = full.canonicalize().map_err(unreadable)?;
            let is_target = |directory: &Directory| {
                let directory = self.root.join(directory.path()).canonicalize();
                directory.is_ok_and(|directory| directory == target)
            };
            if self.open.iter().any(is_target) {
                return Ok(());
            }
            let below = self.open.iter().map(Directory::path);
            let links = below
                .filter(|path| !path.as_os_str().is_empty() && self.root.join(path).is_symlink());
            if links.count() >= MAX_LINKS {
                return Err(format!(
                    "the folder: a link within folders that were reached by {MAX_LINKS} links already"
                ));
            }
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("the folder: more than {MAX_DEPTH} levels deep"));
        }
        let directory = Directory::open(&full, path.to_owned(), None).map_err(unreadable)?;
        self.open.push(directory);
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.advance()
    }
}

/// What a person names: the file at `path`, or all files in the folder there. The paths of the
/// entries begin with `path`. One that can't be searched is an entry with a problem.
pub fn files_at(path: &Path) -> Box<dyn Iterator<Item = Entry> + '_> {
    let found = path.metadata();
    if !found.as_ref().is_ok_and(|found| found.is_dir()) {
        let problem = match found {
            Ok(found) if found.is_file() => None,
            Ok(found) => Some(format!(
                "it is {}, and no regular file",
                regular_file::named(found.file_type())
            )),
            Err(error) => Some(error.to_string()),
        };
        return Box::new(std::iter::once(Entry {
            path: path.to_owned(),
            problem,
        }));
    }
    match Walk::open(path, None) {
        Ok(walk) => Box::new(walk.map(|entry| Entry {
            path: path.join(entry.path),
            ..entry
        })),
        Err(error) => Box::new(std::iter::once(Entry {
            path: path.to_owned(),
            problem: Some(unreadable(error)),
        })),
    }
}

fn unreadable(error: io::Error) -> String {
    format!("the folder: {error}")
}
