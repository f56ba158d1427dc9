//! A person's files become pictures. They are decoded in worker processes, where a file that is
//! made to do harm can do none.

use std::{path::Path, time::Duration};

use image::RgbImage;
use maskline_foundation::regular_file;
use maskline_messages::Reason;
use maskline_sandbox::{Failed, Limits, Place, Pool, Role, Room, Work, parts};
use maskline_vision::decode::{self, MAX_SIDE};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

/// The most bytes of a file that are read into memory. No picture has as many.
const MAX_BYTES: u64 = 1 << 30;

/// What a worker does.
pub static DECODER: Role = Role {
    name: "decode",
    start: |_setup| Ok(Box::new(Decoder)),
};

/// Decodes files in worker processes, one for each core.
#[derive(Clone)]
pub(crate) struct SandboxedDecoder(Pool);

/// A picture of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct FilePicture {
    /// Upright, and halved until no side has more than [`MAX_SIDE`] pixels.
    pub(crate) pixels: RgbImage,
    /// The upright picture's width and height before that.
    pub(crate) size: [u32; 2],
}

/// The answer of a worker: both sizes of a [`FilePicture`], beside its pixels.
#[derive(Serialize, Deserialize)]
enum Answer {
    Picture { pixels: [u32; 2], size: [u32; 2] },
    Refused(Reason),
}

impl SandboxedDecoder {
    pub(crate) fn new() -> Self {
        let limits = Limits {
            claimed: decode::Limits::default().memory,
            // Within that, the pixels are copied into the answer.
            unclaimed: 48 << 20,
            processor_time: Duration::from_secs(10),
            time: Duration::from_secs(60),
            answer: 3 * u64::from(MAX_SIDE).pow(2) + (1 << 16),
        };
        Self(Pool::new(&DECODER, vec![], limits, Place::default()))
    }

    /// The number of files that are decoded at the same time.
    pub(crate) fn workers(&self) -> usize {
        self.0.workers()
    }

    /// Reads a picture, or says why it is none.
    pub(crate) async fn read(&self, path: &Path) -> Result<FilePicture, String> {
        let file = path.to_owned();
        let reading = spawn_blocking(move || regular_file::read(&file, MAX_BYTES));
        let bytes = reading.await.map_err(|error| error.to_string())?;
        let bytes = bytes.map_err(|error| format!("can't be read: {error}"))?;
        let read = match self.0.ask(bytes.into()).await {
            Ok(answer) => picture(answer).unwrap_or(Err(Reason::DecoderCrashed { signal: None })),
            Err(Failed::TooCostly(limit)) => Err(Reason::TooCostly {
                limit: limit.to_string(),
            }),
            Err(Failed::Crashed { signal }) => Err(Reason::DecoderCrashed { signal }),
            Err(failed @ Failed::NotStarted(_)) => return Err(failed.to_string()),
        };
        read.map_err(|reason| reason.to_string())
    }
}

/// The picture of an answer. `None` if no worker of ours answers that.
fn picture(answer: Vec<u8>) -> Option<Result<FilePicture, Reason>> {
    match parts::split(answer).ok()? {
        (
            Answer::Picture {
                pixels: [width, height],
                size,
            },
            bytes,
        ) => {
            let exact = bytes.len() as u64 == 3 * u64::from(width) * u64::from(height);
            let pixels = exact.then(|| RgbImage::from_raw(width, height, bytes));
            pixels
                .flatten()
                .map(|pixels| Ok(FilePicture { pixels, size }))
        }
        (Answer::Refused(reason), _) => Some(Err(reason)),
    }
}

struct Decoder;

impl Work for Decoder {
    fn answer(&mut self, request: &[u8], room: &mut dyn Room) -> Vec<u8> {
        let limits = decode::Limits {
            bytes: MAX_BYTES,
            ..decode::Limits::default()
        };
        room.claim(decode::memory(request, &limits));
        match decode::decode(request, &limits) {
            Ok(decoded) => {
                let answer = Answer::Picture {
                    pixels: decoded.picture.dimensions().into(),
                    size: [decoded.width, decoded.height],
                };
                parts::join(&answer, decoded.picture.as_raw())
            }
            Err(reason) => parts::join(&Answer::Refused(reason), &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use maskline_vision::encode;

    use super::*;

    #[tokio::test]
    async fn a_file_becomes_the_picture_that_it_is_or_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let drawn = RgbImage::from_fn(70, 40, |x, y| Rgb([x as u8, y as u8, 9]));
        let jpeg = encode::jpeg(&drawn, 90);
        std::fs::write(path("a.jpg"), &jpeg).unwrap();
        std::fs::write(path("b.jpg"), "<html>").unwrap();
        let decoder = SandboxedDecoder::new();
        let expected = decode::decode(&jpeg, &decode::Limits::default()).unwrap();
        let expected = FilePicture {
            pixels: expected.picture,
            size: [70, 40],
        };
        assert_eq!(decoder.read(&path("a.jpg")).await, Ok(expected));
        let large = RgbImage::new(2 * MAX_SIDE + 100, 50);
        std::fs::write(path("large.jpg"), encode::jpeg(&large, 90)).unwrap();
        let large = decoder.read(&path("large.jpg")).await.unwrap();
        assert_eq!(large.size, [2 * MAX_SIDE + 100, 50]);
        assert!(large.pixels.width() <= MAX_SIDE);
        for (name, part) in [("b.jpg", "html"), ("c.jpg", "can't be read")] {
            let problem = decoder.read(&path(name)).await.unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn an_answer_of_another_size_is_none() {
        let answer = Answer::Picture {
            pixels: [u32::MAX; 2],
            size: [u32::MAX; 2],
        };
        assert_eq!(picture(parts::join(&answer, &[0; 12])), None);
        assert_eq!(picture(vec![1, 2, 3]), None);
    }
}
