//! A list as a local file in UTF-8.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use encoding_rs::{CoderResult, Decoder, UTF_8};
use maskline_foundation::path_text;
use maskline_messages::{Labeling, Location};
use parking_lot::Mutex;
use tempfile::NamedTempFile;

use super::{format::ListFormat, parquet_format::OpenRows, row::ListContext};
use crate::{
    expand::{
        compression::{Compression, first_bytes},
        error::ExpandError,
        parquet_file,
        source_file::SourceFile,
        text::{self, SAMPLE},
    },
    fetch::Fetcher,
};

/// How many bytes a list on the web may have. A hundred million URLs go into a few files
/// of this size.
const MAX_BYTES: u64 = 1 << 30;

/// How many bytes a list may have once it is decompressed and in UTF-8.
const MAX_UNPACKED: u64 = 4 << 30;

/// How a list is read.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// The name of the column of URLs or files, if it is not one of the usual names.
    pub column: Option<String>,
    /// How the images are labelled.
    pub labeling: Option<Labeling>,
    /// The folder in which the list names files. `None` means that it names URLs.
    pub folder: Option<PathBuf>,
}

/// A list that can be read from a local file, in UTF-8 and not compressed. Where the source is
/// otherwise, this is a temporary copy.
pub struct LocalList {
    file: SourceFile,
    source: SourceFile,
    format: ListFormat,
    context: ListContext,
    /// The rows of a Parquet file, at the position at which the last step ended.
    pub(super) rows: Mutex<Option<OpenRows>>,
}

impl LocalList {
    /// Opens a list in a file, or fetches one that is on the web.
    pub(in crate::expand) async fn open(
        fetcher: &Fetcher,
        list: &Location,
        options: ListOptions,
    ) -> Result<Self, ExpandError> {
        let source = SourceFile::open(fetcher, list, "list", MAX_BYTES).await?;
        let name = list.shown();
        let prepared = tokio::task::spawn_blocking(move || Self::prepare(source, name, options));
        prepared
            .await
            .context("opening a list")
            .map_err(ExpandError::retry)?
    }

    /// A list that lies in a file of this machine.
    pub fn from_file(path: &Path, options: ListOptions) -> Result<Self, ExpandError> {
        let source = SourceFile::at(path, "list")?;
        Self::prepare(source, path_text::to_text(path).into_owned(), options)
    }

    fn prepare(
        source: SourceFile,
        name: String,
        options: ListOptions,
    ) -> Result<Self, ExpandError> {
        let context = ListContext {
            name,
            labeling: options.labeling,
            column: options.column,
            folder: options.folder,
        };
        let damaged = |error: io::Error| {
            ExpandError::Source(format!(
                "the list {} can't be read to its end, it may be damaged: {error}",
                context.name
            ))
        };
        let compression = compression_of(&mut source.read()?, &context)?;
        let mut content = compression.reader(source.read()?).map_err(damaged)?;
        let mut sample = vec![];
        content
            .by_ref()
            .take(SAMPLE as u64)
            .read_to_end(&mut sample)
            .map_err(damaged)?;
        let is_binary = sample.starts_with(parquet_file::MAGIC);
        let encoding = match is_binary {
            true => UTF_8,
            false => {
                text::told(&sample, source.content_type()).unwrap_or_else(|| text::guessed(&sample))
            }
        };
        let (head, _, _) = encoding.decode(&sample);
        let is_copied = compression != Compression::None || encoding != UTF_8;
        let file = match is_copied {
            true => {
                let whole = io::Cursor::new(&sample).chain(content);
                let decoder = (!is_binary).then(|| encoding.new_decoder());
                let copied = copy(whole, decoder, &context.name).map_err(damaged)?;
                source.replaced_by(copied)
            }
            false => source.clone(),
        };
        let format = ListFormat::of(&head, &source, &context)?;
        tracing::info!(
            list = context.name,
            %format,
            encoding = (!is_binary).then_some(encoding.name()),
            "the list is read"
        );
        Ok(Self {
            format,
            file,
            source,
            context,
            rows: Mutex::default(),
        })
    }

    /// Returns whether the list is no longer what it was when it was opened.
    pub(in crate::expand) fn has_changed(&self) -> bool {
        self.source.has_changed()
    }

    /// Returns whether the list is the file at `path`.
    pub(in crate::expand) fn is_of(&self, path: &Path) -> bool {
        self.source.path() == path
    }

    pub(super) fn read(&self) -> Result<File, ExpandError> {
        self.file.read()
    }

    /// A text that changes when the list does.
    pub(super) fn version(&self) -> &str {
        self.source.version()
    }

    pub(super) fn format(&self) -> ListFormat {
        self.format
    }

    pub(super) fn context(&self) -> &ListContext {
        &self.context
    }
}

fn compression_of(file: &mut File, context: &ListContext) -> Result<Compression, ExpandError> {
    let name = &context.name;
    let first = first_bytes(file).map_err(ExpandError::retry)?;
    if first.starts_with(b"PK\x03\x04") {
        return Err(ExpandError::Source(format!(
            "{name} is a zip archive and no list: enqueue its images with `maskline enqueue \
             archive`, or unpack the list in it"
        )));
    }
    Compression::of(&first).map_err(|other| {
        ExpandError::Source(format!(
            "the list {name} is compressed by {other}, which is not read: compress it by gzip or \
             zstd, or not at all"
        ))
    })
}

/// Copies a whole list into a temporary file. What is a text has a decoder, and becomes UTF-8.
fn copy(
    mut content: impl Read,
    mut decoder: Option<Decoder>,
    name: &str,
) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix("maskline-list-")?;
    let mut left = MAX_UNPACKED;
    let mut write = |bytes: &[u8]| {
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            io::Error::other(format!(
                "{name} has more than {MAX_UNPACKED} bytes when it is decompressed: split it"
            ))
        })?;
        file.write_all(bytes)
    };
    let mut bytes = vec![0; 64 << 10];
    let mut text = String::with_capacity(256 << 10);
    loop {
        let read = match content.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        match &mut decoder {
            None => write(&bytes[..read])?,
            Some(decoder) => {
                let mut rest = &bytes[..read];
                loop {
                    text.clear();
                    let (result, used, _) = decoder.decode_to_string(rest, &mut text, read == 0);
                    rest = &rest[used..];
                    write(text.as_bytes())?;
                    if result == CoderResult::InputEmpty {
                        break;
                    }
                }
            }
        }
        if read == 0 {
            break;
        }
    }
    file.flush()?;
    Ok(file)
}
