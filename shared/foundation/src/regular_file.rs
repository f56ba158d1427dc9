//! Reading files that somebody else put somewhere: only regular ones, and only so many bytes.

use std::{
    fs::{File, FileType, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

/// Opens a regular file and returns its size in bytes. Anything else is an error of the kind
/// `InvalidInput`, and nothing is waited for: opening a pipe would wait for who writes to it.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    // It is opened before it is looked at, so that nobody exchanges it in between.
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path);
    // A socket can't even be opened.
    let file = file.map_err(|error| match path.metadata() {
        Ok(metadata) if !metadata.is_file() => not_regular(metadata.file_type()),
        _ => error,
    })?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(not_regular(metadata.file_type())),
    }
}

/// Reads a regular file of at most `most` bytes. A larger one is an error of the kind
/// `FileTooLarge`.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, size) = open(path)?;
    if size > most {
        let problem = format!("it has {size} bytes, and may have {most}");
        return Err(io::Error::new(ErrorKind::FileTooLarge, problem));
    }
    // A file that grows meanwhile is read up to the size that it had.
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a path leads to that is neither a file nor a folder, in words.
pub(crate) fn named(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else if kind.is_dir() {
        "a folder"
    } else {
        "neither a file nor a folder"
    }
}

fn not_regular(kind: FileType) -> io::Error {
    let problem = format!("it is {}, and no regular file", named(kind));
    io::Error::new(ErrorKind::InvalidInput, problem)
}

/// Returns whether an error says something about the file, so that another attempt would fail
/// like this one. All other errors are about the machine.
pub fn is_permanent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
            | ErrorKind::FileTooLarge
    ) || error.raw_os_error() == Some(libc::ELOOP)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
        process::Command,
    };

    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "1234567").unwrap();
        symlink("file", path("link")).unwrap();
        assert_eq!(read(&path("link"), 7).unwrap(), b"1234567");
        let made = Command::new("mkfifo").arg(path("pipe")).status();
        assert!(made.unwrap().success());
        let _socket = UnixListener::bind(path("socket")).unwrap();
        symlink("/dev/zero", path("zeros")).unwrap();
        symlink("round", path("about")).unwrap();
        symlink("about", path("round")).unwrap();
        let cases = [
            ("file", 6, "it has 7 bytes"),
            ("pipe", 7, "a named pipe"),
            ("socket", 7, "a socket"),
            ("zeros", 7, "a device"),
            (".", 7, "a folder"),
            ("round", 7, "symbolic links"),
            ("nothing", 7, "No such file"),
            ("file/x", 7, "Not a directory"),
        ];
        for (name, most, expected) in cases {
            let error = read(&path(name), most).unwrap_err();
            assert!(error.to_string().contains(expected), "{name}: {error}");
            assert!(is_permanent(&error), "{name}: {error:?}");
        }
        let busy = io::Error::from_raw_os_error(libc::EMFILE);
        assert!(!is_permanent(&busy));
    }
}
