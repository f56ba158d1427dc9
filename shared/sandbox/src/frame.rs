//! What goes through the pipes between a pool and a worker: frames of a tag, a length and bytes.

use std::io::{self, Read, Write};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    /// To a new worker: what it needs to begin.
    Setup = 1,
    /// From a worker that has given up what it could do, and waits for requests: a [`Ready`].
    Ready,
    /// From a worker that can't begin: why.
    Failed,
    /// To a worker.
    Request,
    /// From a worker: how much memory its request will take, a number of bytes.
    Claim,
    /// To a worker: it may take what it has claimed.
    Room,
    /// From a worker.
    Answer,
}

impl Tag {
    fn of(byte: u8) -> Option<Self> {
        use Tag::*;
        let all = [Setup, Ready, Failed, Request, Claim, Room, Answer];
        all.into_iter().find(|tag| *tag as u8 == byte)
    }
}

/// What a worker says when it is ready.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ready {
    /// The bytes of memory that the kernel counts as its data (`RLIMIT_DATA`) while it is idle.
    pub(crate) idle_data: u64,
    /// What it could not give up, because this kernel does not know how.
    pub(crate) missing: Vec<String>,
}

const HEAD: usize = 9;

fn head(tag: Tag, length: usize) -> [u8; HEAD] {
    let mut head = [tag as u8; HEAD];
    head[1..].copy_from_slice(&(length as u64).to_le_bytes());
    head
}

fn parsed(head: [u8; HEAD]) -> io::Result<(Tag, u64)> {
    let tag = Tag::of(head[0]).ok_or_else(|| nonsense("no such frame"))?;
    let length = head.last_chunk().expect("eight bytes after the tag");
    Ok((tag, u64::from_le_bytes(*length)))
}

/// The error for what the other side never sends.
pub(crate) fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Sends a frame, as a pool does.
pub(crate) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    tag: Tag,
    bytes: &[u8],
) -> io::Result<()> {
    to.write_all(&head(tag, bytes.len())).await?;
    to.write_all(bytes).await
}

/// Receives a frame of so many bytes at most, as a pool does. The memory for it grows with what
/// arrives, and not with what is announced.
pub(crate) async fn receive(
    from: &mut (impl AsyncRead + Unpin),
    most: u64,
) -> io::Result<(Tag, Vec<u8>)> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).await?;
    let (tag, length) = parsed(head)?;
    if length > most {
        return Err(nonsense("a frame is too long"));
    }
    let mut bytes = vec![];
    from.take(length).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((tag, bytes))
}

/// Writes a frame, as a worker does.
pub(crate) fn write(to: &mut impl Write, tag: Tag, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&head(tag, bytes.len()))?;
    to.write_all(bytes)
}

/// Reads a frame that must have this tag, as a worker does. `None` is the end.
pub(crate) fn read(from: &mut impl Read, expected: Tag) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD];
    match from.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    }
    let (tag, length) = parsed(head)?;
    if tag != expected {
        return Err(nonsense("another frame was expected"));
    }
    let capacity = usize::try_from(length).map_err(|_| nonsense("a frame is too long"))?;
    let mut bytes = Vec::with_capacity(capacity);
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_sent_on_both_sides() {
        let (mut sent, mut written) = (vec![], vec![]);
        send(&mut sent, Tag::Request, b"abc").await.unwrap();
        write(&mut written, Tag::Request, b"abc").unwrap();
        assert_eq!(sent, written);
        let received = receive(&mut &sent[..], 3).await.unwrap();
        assert_eq!(received, (Tag::Request, b"abc".to_vec()));
        let read = read(&mut &sent[..], Tag::Request).unwrap();
        assert_eq!(read, Some(b"abc".to_vec()));
    }

    #[tokio::test]
    async fn what_no_worker_of_ours_sends_is_an_error() {
        let mut frame = vec![];
        write(&mut frame, Tag::Answer, b"abcd").unwrap();
        for (bytes, most) in [(&frame[..], 3), (&frame[..11], 4), (&[99; 20][..], 100)] {
            assert!(receive(&mut &bytes[..], most).await.is_err(), "{bytes:?}");
        }
        assert!(read(&mut &frame[..], Tag::Room).is_err());
        assert_eq!(read(&mut &[][..], Tag::Room).unwrap(), None);
    }
}
