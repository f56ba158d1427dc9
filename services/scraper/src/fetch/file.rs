//! Reading a local file, under the same limits as a download.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use bytes::Bytes;
use maskline_foundation::{ByteBudget, path_text, regular_file};
use maskline_messages::{ImageId, Reason};

use super::{body::Body, error::FetchError};

/// Reads the whole file. A file of more than `max` bytes is rejected.
pub(super) async fn read(path: &Path, max: u64, budget: &ByteBudget) -> Result<Body, FetchError> {
    let path = path.to_owned();
    let (file, size) = blocking(path.clone(), regular_file::open).await?;
    if size == 0 {
        return Err(Reason::Empty.into());
    }
    if size > max {
        return Err(FetchError::too_many_bytes(size, max));
    }
    let room = budget.room(size).await;
    let (bytes, image) = blocking(path, move |_| {
        // A file that grows meanwhile is read up to the size that it had.
        let mut bytes = Vec::with_capacity(size as usize);
        file.take(size).read_to_end(&mut bytes)?;
        let image = ImageId::of(&bytes);
        Ok((Bytes::from(bytes), image))
    })
    .await?;
    Ok(Body::new(bytes, image, room))
}

/// Does `work` on a thread that may block, and says what its errors mean for the image.
async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, FetchError> {
    let at = path.clone();
    let done = tokio::task::spawn_blocking(move || work(&at)).await;
    let done = done.context("reading a file").map_err(FetchError::retry)?;
    done.map_err(|error| match regular_file::is_permanent(&error) {
        true => Reason::Unreadable {
            detail: error.to_string(),
        }
        .into(),
        false => {
            let context = format!("reading {}", path_text::shown(&path));
            FetchError::retry(anyhow::Error::new(error).context(context))
        }
    })
}
