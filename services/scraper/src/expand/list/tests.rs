//! What all tests of lists use.

mod columns;
mod lines;
mod parquet_lists;
mod steps;

use std::{fs::File, io::Write};

use flate2::{Compression as Level, write::GzEncoder};
use maskline_messages::{Labeling, Location};

use super::*;
use crate::expand::candidate::SourceCandidate;

/// Everything in the list, step by step, with the steps' sizes.
async fn all(
    name: &str,
    text: &[u8],
    labeling: Option<Labeling>,
) -> Result<(Vec<SourceCandidate>, Vec<usize>), String> {
    let options = ListOptions {
        labeling,
        ..ListOptions::default()
    };
    all_with(name, text, options).await
}

async fn all_with(
    name: &str,
    text: &[u8],
    options: ListOptions,
) -> Result<(Vec<SourceCandidate>, Vec<usize>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    File::create(&path).unwrap().write_all(text).unwrap();
    let (mut found, mut sizes, mut cursor) = (vec![], vec![], None);
    let text = |error: ExpandError| error.to_string().replace(path.to_str().unwrap(), name);
    loop {
        // Each step is taken by a process that knows nothing of the last one.
        let opened = LocalList::from_file(&path, options.clone()).map_err(text)?;
        let step = step(Arc::new(opened), cursor.as_deref())
            .await
            .map_err(text)?;
        sizes.push(step.candidates.len());
        found.extend(step.candidates);
        cursor = step.next_cursor;
        if cursor.is_none() {
            return Ok((found, sizes));
        }
    }
}

fn shown(found: &[SourceCandidate]) -> Vec<String> {
    let one = |found: &SourceCandidate| match (&found.rejected, &found.location, &found.label) {
        (Some(reason), _, _) => reason.to_string(),
        (None, at, Some(label)) => format!("{at} {label}"),
        (None, at, None) => at.to_string(),
    };
    found.iter().map(one).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Level::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}
