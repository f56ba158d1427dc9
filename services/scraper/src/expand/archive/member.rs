//! The members of an archive, one after the other.

use bytes::Bytes;
use maskline_foundation::text::shortened;
use maskline_messages::Reason;

use super::{limits::MAX_NAME, position::ArchivePosition};

/// A member, before its content is read.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// Its number in the archive, counted from 0. Folders and the like are counted, too.
    pub(super) index: u64,
    pub(super) name: String,
    /// How many bytes it has, if what the archive says is true.
    pub(super) size: u64,
    /// Why it is not read, if that is known.
    pub(super) problem: Option<String>,
}

impl Head {
    /// The rejection of a member that can't be read, is too large, or has nothing.
    pub(super) fn rejection(&self, most: u64) -> Option<Reason> {
        if let Some(detail) = self.problem.clone() {
            return Some(Reason::Unreadable { detail });
        }
        match self.size {
            0 => Some(Reason::Empty),
            bytes if bytes > most => Some(Reason::TooManyBytes { bytes, most }),
            _ => None,
        }
    }
}

/// An archive that is being read. An error is a text that goes on after "the archive …", and
/// means that no further member can be read.
pub(super) trait Members: Send {
    /// The position of the member that [`next`](Self::next) gives.
    fn position(&self) -> ArchivePosition;

    /// Goes on to this position. Returns false if it can't be reached from here.
    fn go_to(&mut self, position: ArchivePosition) -> Result<bool, String>;

    /// The next member that is a file or claims to be one, or `None` after the last.
    fn next(&mut self) -> Result<Option<Head>, String>;

    /// The bytes of the member that `next` gave last, or why it has none that are of use. No more
    /// than `most` bytes are read.
    fn content(&mut self, head: &Head, most: u64) -> Result<Result<Bytes, Reason>, String>;

    /// Makes `next` give the same member again. Its content must not have been read.
    fn put_back(&mut self);
}

/// The name of a member as it is shown, and what is wrong with it. `None` is for a member that
/// is passed over: a hidden file, or one in a hidden folder, as in a folder of the disk.
pub(super) fn name_of(bytes: &[u8]) -> Option<(String, Option<String>)> {
    if bytes.len() > MAX_NAME {
        let begin = String::from_utf8_lossy(&bytes[..MAX_NAME]);
        let problem = format!("its name has more than {MAX_NAME} bytes");
        return Some((shortened(&begin, 200), Some(problem)));
    }
    let text = String::from_utf8_lossy(bytes);
    let mut parts: Vec<&str> = text.split('/').collect();
    let drive = parts.first().filter(|first| first.len() == 2);
    let is_absolute = text.starts_with('/') || drive.is_some_and(|drive| drive.ends_with(':'));
    let leads_out = is_absolute || parts.contains(&"..");
    if leads_out {
        let problem = "its name leads out of the archive".to_owned();
        return Some((text.into_owned(), Some(problem)));
    }
    parts.retain(|part| !matches!(*part, "" | "."));
    let is_hidden = |part: &&str| part.starts_with('.') || *part == "__MACOSX";
    if parts.is_empty() || parts.iter().any(is_hidden) {
        return None;
    }
    let problem = text
        .contains('\0')
        .then(|| "its name holds a NUL".to_owned());
    Some((parts.join("/"), problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_are_refused_and_hidden_files_passed_over() {
        let good = |name: &str| name_of(name.as_bytes()).unwrap();
        assert_eq!(good("./a//b.jpg"), ("a/b.jpg".to_owned(), None));
        for name in ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "C:/a.jpg"] {
            let (_, problem) = good(name);
            assert!(problem.is_some_and(|problem| problem.contains("leads out")));
        }
        for name in [".DS_Store", "a/.b/c.jpg", "__MACOSX/a.jpg", "./", ""] {
            assert_eq!(name_of(name.as_bytes()), None, "{name}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        assert!(
            good(&long)
                .1
                .is_some_and(|problem| problem.contains("1024"))
        );
        assert!(good("a\0.jpg").1.is_some());
    }
}
