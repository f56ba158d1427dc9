//! A folder, searched recursively, in an order that is always the same.
//!
//! Folders can be larger than memory: of each folder at most [`BATCH`] names are
//! held, the next in order, and the folder is read again for the following ones.
//! Because the order is by name, the path of the last file found is all that is
//! needed to go on.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use maskline_messages::{Label, Labeling, Location, Reason};

use super::{ExpandError, Found, STEP, Step, folder_label};

/// Names of one folder that are held at a time.
const BATCH: usize = 16 << 10;

/// Folders within folders. Deeper ones are no collection of images.
const DEEPEST: usize = 64;

/// Finds the next [`STEP`] files after `cursor`. `kept` is the walk that an
/// earlier step of the same source returned, if it is at hand.
pub async fn step(
    root: &Path,
    labeling: Option<&Labeling>,
    cursor: Option<&str>,
    kept: Option<Walk>,
) -> Result<(Step, Walk), ExpandError> {
    let (root, labeling) = (root.to_owned(), labeling.cloned());
    let cursor = cursor.map(PathBuf::from);
    tokio::task::spawn_blocking(move || {
        let mut walk = walk_from(&root, cursor.as_deref(), kept)?;
        let step = take_step(&mut walk, labeling.as_ref());
        if step.found.is_empty() && cursor.is_none() {
            return Err(ExpandError::Source(format!(
                "no images in folder {}: it has no files (hidden ones don't count). \
                 Put images into it, or enqueue another folder",
                root.display()
            )));
        }
        Ok((step, walk))
    })
    .await
    .context("searching a folder")
    .map_err(ExpandError::retry)?
}

fn walk_from(root: &Path, cursor: Option<&Path>, kept: Option<Walk>) -> Result<Walk, ExpandError> {
    let behind = |walk: &Walk| cursor.is_some_and(|cursor| walk.position <= cursor);
    if let (Some(mut walk), Some(cursor)) = (kept.filter(behind), cursor) {
        walk.skip_to(cursor);
        return Ok(walk);
    }
    Walk::open(root, cursor).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::PermissionDenied => ExpandError::Source(format!(
            "folder {} can't be read: {error}. The path must be one that the scraper sees",
            root.display()
        )),
        _ => {
            let context = format!("reading folder {}", root.display());
            ExpandError::retry(anyhow::Error::new(error).context(context))
        }
    })
}

fn take_step(walk: &mut Walk, labeling: Option<&Labeling>) -> Step {
    let mut step = Step::default();
    while let Some(entry) = walk.next() {
        // The cursor must be a path that JSON can carry.
        let next = entry.path.to_str().map(str::to_owned);
        step.found.push(found(&walk.root, entry, labeling));
        if step.found.len() >= STEP && next.is_some() {
            step.next = next;
            break;
        }
    }
    step
}

fn found(root: &Path, entry: Entry, labeling: Option<&Labeling>) -> Found {
    let path = root.join(&entry.path);
    let rejected = |location: PathBuf, reason| Found {
        location: Location::Path(location),
        label: None,
        rejected: Some(reason),
    };
    if let Some(detail) = entry.problem {
        let shown = PathBuf::from(path.to_string_lossy().into_owned());
        return rejected(shown, Reason::Unreadable { detail });
    }
    match label(&path, labeling) {
        Ok(label) => Found {
            location: Location::Path(path),
            label,
            rejected: None,
        },
        Err(reason) => rejected(path, reason),
    }
}

fn label(path: &Path, labeling: Option<&Labeling>) -> Result<Option<Label>, Reason> {
    match labeling {
        Some(Labeling::Declared { label }) => Ok(Some(label.clone())),
        Some(Labeling::Folder) => {
            let folder = path.parent().and_then(Path::file_name);
            folder_label(folder.map(|name| name.to_string_lossy()).as_deref())
        }
        Some(Labeling::Column) | None => Ok(None),
    }
}

/// A file, or something that can't be read.
#[derive(Debug)]
struct Entry {
    /// Below the root.
    path: PathBuf,
    problem: Option<String>,
}

/// A walk through a folder, somewhere on its way. Files come in the order of
/// their paths, compared name by name.
#[derive(Debug)]
pub struct Walk {
    root: PathBuf,
    /// From the root down to the folder that is searched now.
    open: Vec<Folder>,
    /// The file that came last, below the root.
    position: PathBuf,
}

impl Walk {
    /// Begins with the first file after `cursor`.
    fn open(root: &Path, cursor: Option<&Path>) -> io::Result<Self> {
        let mut walk = Self {
            root: root.to_owned(),
            open: vec![],
            position: cursor.map(Path::to_owned).unwrap_or_default(),
        };
        let mut names = cursor.into_iter().flat_map(Path::components);
        let first = names.next().map(|name| name.as_os_str().to_owned());
        walk.open
            .push(Folder::open(root, PathBuf::new(), first.clone())?);
        // Down to the folder that the cursor lies in; should one be gone, the
        // walk goes on after its name.
        let (mut folder, mut within) = (PathBuf::new(), first);
        for name in names {
            folder.extend(within.take());
            let name = name.as_os_str().to_owned();
            match Folder::open(&root.join(&folder), folder.clone(), Some(name.clone())) {
                Ok(open) => walk.open.push(open),
                Err(_) => break,
            }
            within = Some(name);
        }
        Ok(walk)
    }

    /// Goes past `cursor`.
    fn skip_to(&mut self, cursor: &Path) {
        while self.position < cursor && self.next().is_some() {}
    }

    fn next(&mut self) -> Option<Entry> {
        loop {
            let folder = self.open.last_mut()?;
            let (name, kind) = match folder.next(&self.root) {
                Ok(Some(next)) => next,
                Ok(None) => {
                    self.open.pop();
                    continue;
                }
                Err(error) => {
                    // The folder could be read before: what is left of it is
                    // one entry, so that the books know.
                    let path = folder.path.clone();
                    self.open.pop();
                    return Some(self.entry(path, Some(format!("the folder: {error}"))));
                }
            };
            let path = folder.path.join(&name);
            if name.to_str().is_none() {
                let problem = "its name is not UTF-8: rename it".to_owned();
                return Some(self.entry(path, Some(problem)));
            }
            if kind.linked
                && let Some(problem) = self.leads_out(&path)
            {
                return Some(self.entry(path, Some(problem)));
            }
            match kind.what {
                What::File => return Some(self.entry(path, None)),
                What::Folder => match self.enter(&path) {
                    Ok(()) => continue,
                    Err(problem) => return Some(self.entry(path, Some(problem))),
                },
            }
        }
    }

    fn entry(&mut self, path: PathBuf, problem: Option<String>) -> Entry {
        self.position.clone_from(&path);
        Entry { path, problem }
    }

    /// Whoever may write into a folder must not make the scraper read what he can't.
    fn leads_out(&self, link: &Path) -> Option<String> {
        let target = self.root.join(link).canonicalize();
        // What leads nowhere is found out by whoever reads it.
        let (target, root) = (target.ok()?, self.root.canonicalize().ok()?);
        let out = !target.starts_with(&root);
        out.then(|| {
            let target = target.display();
            format!("a link that leads out of the folder, to {target}: put the images themselves into it, or enqueue that folder")
        })
    }

    /// Goes down into a folder, unless it is one of those that it lies in, seen
    /// through a symbolic link.
    fn enter(&mut self, path: &Path) -> Result<(), String> {
        let at = self.root.join(path);
        let unreadable = |error: io::Error| format!("the folder: {error}");
        if at.is_symlink() {
            let target = at.canonicalize().map_err(unreadable)?;
            let here = |folder: &Folder| {
                let folder = self.root.join(&folder.path).canonicalize();
                folder.is_ok_and(|folder| folder == target)
            };
            if self.open.iter().any(here) {
                tracing::debug!(path = %at.display(), "a link to a folder that it lies in: not followed");
                return Ok(());
            }
        }
        if self.open.len() >= DEEPEST {
            return Err(format!("the folder: more than {DEEPEST} levels deep"));
        }
        let folder = Folder::open(&at, path.to_owned(), None).map_err(unreadable)?;
        self.open.push(folder);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    what: What,
    /// Seen through a symbolic link.
    linked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    File,
    Folder,
}

/// A folder being searched.
#[derive(Debug)]
struct Folder {
    /// Below the root.
    path: PathBuf,
    /// The next names in order.
    names: VecDeque<(OsString, Kind)>,
    /// The last name that came, or that the walk begins after.
    after: Option<OsString>,
    /// Whether `names` are the last.
    complete: bool,
}

impl Folder {
    fn open(at: &Path, path: PathBuf, after: Option<OsString>) -> io::Result<Self> {
        let mut folder = Self {
            path,
            names: VecDeque::new(),
            after,
            complete: false,
        };
        folder.fill(at)?;
        Ok(folder)
    }

    fn next(&mut self, root: &Path) -> io::Result<Option<(OsString, Kind)>> {
        if self.names.is_empty() && !self.complete {
            self.fill(&root.join(&self.path))?;
        }
        let next = self.names.pop_front();
        if let Some((name, _)) = &next {
            self.after = Some(name.clone());
        }
        Ok(next)
    }

    /// Reads the folder for the smallest names after the last.
    fn fill(&mut self, at: &Path) -> io::Result<()> {
        let mut names = vec![];
        self.complete = true;
        for entry in fs::read_dir(at)? {
            let entry = entry?;
            let name = entry.file_name();
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if hidden || self.after.as_ref().is_some_and(|after| name <= *after) {
                continue;
            }
            if let Some(kind) = kind_of(&entry) {
                names.push((name, kind));
            }
            if names.len() == 2 * BATCH {
                names.select_nth_unstable_by(BATCH, |a, b| a.0.cmp(&b.0));
                names.truncate(BATCH);
                self.complete = false;
            }
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if names.len() > BATCH {
            names.truncate(BATCH);
            self.complete = false;
        }
        self.names = names.into();
        Ok(())
    }
}

/// `None` for what is neither: pipes, sockets, devices.
fn kind_of(entry: &fs::DirEntry) -> Option<Kind> {
    let kind = entry.file_type().ok()?;
    let linked = kind.is_symlink();
    let kind = match linked {
        true => match entry.path().metadata() {
            Ok(target) => target.file_type(),
            // A link that leads nowhere counts as a file, so that the books know.
            Err(_) => {
                let what = What::File;
                return Some(Kind { what, linked });
            }
        },
        false => kind,
    };
    let what = match kind {
        _ if kind.is_dir() => What::Folder,
        _ if kind.is_file() => What::File,
        _ => return None,
    };
    Some(Kind { what, linked })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[&str]) -> TempDir {
        let root = TempDir::new().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        root
    }

    fn paths(root: &Path, cursor: Option<&str>) -> Vec<String> {
        let mut walk = Walk::open(root, cursor.map(Path::new)).unwrap();
        std::iter::from_fn(|| walk.next())
            .map(|entry| entry.path.to_str().unwrap().to_owned())
            .collect()
    }

    const TREE: [&str; 9] = [
        "a.jpg",
        "b/1.jpg",
        "b/10.jpg",
        "b/2.jpg",
        "b/c/deep.png",
        "b/z",
        "b.jpg",
        "c/without-extension",
        "d.txt",
    ];

    #[test]
    fn files_come_in_the_order_of_their_paths_without_hidden_ones() {
        let root = folder(&TREE);
        for hidden in [".DS_Store", "b/.thumbnail.jpg", ".git/config"] {
            let path = root.path().join(hidden);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(paths(root.path(), None), TREE);
    }

    #[test]
    fn a_walk_goes_on_after_any_file_and_after_one_that_is_gone() {
        let root = folder(&TREE);
        for (n, cursor) in TREE.iter().enumerate() {
            assert_eq!(paths(root.path(), Some(cursor)), TREE[n + 1..], "{cursor}");
        }
        let gone = [
            ("b/11.jpg", 3),
            ("b/c/x/y.jpg", 5),
            ("bb/1.jpg", 7),
            ("e", 9),
        ];
        for (cursor, rest) in gone {
            assert_eq!(paths(root.path(), Some(cursor)), TREE[rest..], "{cursor}");
        }
    }

    #[test]
    fn a_kept_walk_skips_to_the_cursor_that_another_replica_reached() {
        let root = folder(&TREE);
        let mut walk = Walk::open(root.path(), None).unwrap();
        walk.next();
        let mut walk = walk_from(root.path(), Some(Path::new("b/2.jpg")), Some(walk)).unwrap();
        assert_eq!(walk.next().unwrap().path, Path::new("b/c/deep.png"));
        // And one that is ahead is of no use.
        let mut walk = walk_from(root.path(), Some(Path::new("a.jpg")), Some(walk)).unwrap();
        assert_eq!(walk.next().unwrap().path, Path::new("b/1.jpg"));
    }

    #[test]
    fn a_folder_larger_than_a_batch_is_read_in_order_and_whole() {
        let root = TempDir::new().unwrap();
        let all = 2 * BATCH + 100;
        for n in 0..all {
            fs::write(root.path().join(format!("{n:06}")), "").unwrap();
        }
        let found = paths(root.path(), None);
        assert_eq!(found.len(), all);
        assert!(found.is_sorted());
        assert_eq!(paths(root.path(), Some("032700")).len(), all - 32701);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_in_circles() {
        use std::os::unix::fs::symlink;
        let root = folder(&["a/1.jpg", "b/2.jpg"]);
        symlink(root.path(), root.path().join("a/up")).unwrap();
        symlink("../a", root.path().join("b/a")).unwrap();
        symlink("b/2.jpg", root.path().join("link.jpg")).unwrap();
        symlink("nowhere", root.path().join("broken.jpg")).unwrap();
        let expected = ["a/1.jpg", "b/2.jpg", "b/a/1.jpg", "broken.jpg", "link.jpg"];
        assert_eq!(paths(root.path(), None), expected);
    }

    #[test]
    fn links_that_lead_out_are_told_and_not_followed() {
        use std::os::unix::fs::symlink;
        let (root, other) = (folder(&["a/1.jpg"]), folder(&["3.jpg"]));
        symlink(other.path(), root.path().join("folder")).unwrap();
        symlink(other.path().join("3.jpg"), root.path().join("file.jpg")).unwrap();
        symlink("../..", root.path().join("a/up")).unwrap();
        // The folder itself may be named by a link.
        let named = other.path().join("named");
        symlink(root.path(), &named).unwrap();
        for root in [root.path(), &named] {
            let mut walk = Walk::open(root, None).unwrap();
            let entries: Vec<Entry> = std::iter::from_fn(|| walk.next()).collect();
            let told = |entry: &Entry| {
                let told = entry.problem.as_deref().unwrap_or_default();
                told.contains("leads out of the folder")
            };
            let seen = entries
                .iter()
                .map(|entry| (entry.path.to_str().unwrap(), told(entry)));
            let expected = [
                ("a/1.jpg", false),
                ("a/up", true),
                ("file.jpg", true),
                ("folder", true),
            ];
            assert_eq!(seen.collect::<Vec<_>>(), expected);
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_name_that_is_not_utf8_is_in_the_books_as_unreadable() {
        use std::os::unix::ffi::OsStrExt;
        let root = folder(&["a.jpg"]);
        let name = std::ffi::OsStr::from_bytes(b"b\xff.jpg");
        fs::write(root.path().join(name), "").unwrap();
        let (step, _) = step(root.path(), None, None, None).await.unwrap();
        assert_eq!(step.found.len(), 2);
        assert!(matches!(
            step.found[1].rejected,
            Some(Reason::Unreadable { .. })
        ));
    }

    #[tokio::test]
    async fn steps_find_the_same_as_one_walk() {
        let root = TempDir::new().unwrap();
        for n in 0..2 * STEP + 7 {
            let class = ["with", "without"][n % 2];
            let path = root.path().join(class).join(format!("{n}.jpg"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        for keep in [false, true] {
            let (mut cursor, mut kept, mut sizes) = (None, None, vec![]);
            let mut seen = BTreeSet::new();
            loop {
                let labeling = Some(&Labeling::Folder);
                let (step, walk) = step(root.path(), labeling, cursor.as_deref(), kept)
                    .await
                    .unwrap();
                sizes.push(step.found.len());
                for found in step.found {
                    let Location::Path(path) = found.location else {
                        panic!("{:?}", found.location)
                    };
                    let class = path.parent().unwrap().file_name().unwrap();
                    assert_eq!(found.label.unwrap().as_str(), class);
                    assert!(seen.insert(path));
                }
                kept = keep.then_some(walk);
                cursor = step.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(sizes, [STEP, STEP, 7]);
        }
    }

    #[tokio::test]
    async fn what_is_no_folder_of_files_is_an_error_that_says_what_to_do() {
        let root = folder(&["file", "empty/.hidden"]);
        let cases = [
            ("missing", "can't be read"),
            ("file", "can't be read"),
            ("empty", "no images in folder"),
        ];
        for (name, expected) in cases {
            let error = step(&root.path().join(name), None, None, None)
                .await
                .map(|_| ())
                .unwrap_err();
            let ExpandError::Source(text) = error else {
                panic!("{name}: {error}");
            };
            assert!(text.contains(expected), "{text}");
            assert!(text.contains(name), "{text}");
        }
    }

    #[tokio::test]
    async fn labels_come_from_the_folder_that_a_file_lies_in() {
        let root = folder(&["people/with_mask/1.jpg", "people/with mask/2.jpg"]);
        let (step, _) = step(root.path(), Some(&Labeling::Folder), None, None)
            .await
            .unwrap();
        let bad = Reason::BadLabel {
            text: "with mask".to_owned(),
        };
        assert_eq!(step.found[0].rejected, Some(bad));
        assert_eq!(step.found[1].label, Some("with_mask".parse().unwrap()));
    }
}
