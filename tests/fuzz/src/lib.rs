//! The parsers of untrusted data, each with the conditions that must hold for any bytes.
//!
//! `tests/fuzz/run` fuzzes them with libFuzzer. The tests here give each parser its seeds and
//! the files in `corpus`, which were found to cover much of it.

mod seeds;

use std::{
    collections::HashSet,
    io::Write,
    path::{Component, Path},
    sync::{Arc, LazyLock},
};

use burn::tensor::Device;
use bytes::Bytes;
use maskline_messages::{ImageId, JobId, Label, Labeling, Location, Message, ObjectKey, Reason};
use maskline_scraper::{
    expand::{
        list::{self, ListOptions, LocalList},
        page,
    },
    fetch::robots::Rules,
};
use maskline_validator::{Answer, FaceArgs, LimitArgs, SandboxedValidator};
use maskline_vision::decode::{Limits, MAX_SIDE, decode, memory};
use tokio::runtime::Runtime;
use url::Url;

/// A parser.
pub struct Target {
    pub name: &'static str,
    /// Parses the bytes. Panics where a condition does not hold.
    pub run: fn(&[u8]),
    /// The inputs with which fuzzing begins.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 8] = [
    Target {
        name: "message",
        run: message,
        seeds: seeds::messages,
    },
    Target {
        name: "name",
        run: name,
        seeds: seeds::names,
    },
    Target {
        name: "list",
        run: url_list,
        seeds: seeds::lists,
    },
    Target {
        name: "page",
        run: html,
        seeds: seeds::pages,
    },
    Target {
        name: "robots",
        run: robots,
        seeds: seeds::robots,
    },
    Target {
        name: "picture",
        run: picture,
        seeds: seeds::pictures,
    },
    Target {
        name: "weights",
        run: weights,
        seeds: seeds::weights,
    },
    Target {
        name: "shard",
        run: shard,
        seeds: seeds::shards,
    },
];

/// The body of a message. A message must stay the same when it is written and read again.
fn message(bytes: &[u8]) {
    let Ok(message) = Message::from_json(bytes) else {
        return;
    };
    let again = Message::from_json(&message.to_json());
    assert_eq!(again.expect("a written message can be read"), message);
    let failure = message.failure("stage", "error", 3);
    let failure = failure.map(|failure| Message::from_json(&failure.to_json()));
    assert!(failure.is_none_or(|failure| failure.is_ok()));
}

/// Ids, labels and object keys. Each must be safe as a file's name, and must not lead out of
/// its folder.
fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let job = text.parse().map(|job: JobId| job.to_string());
    let image = text.parse().map(|image: ImageId| image.to_string());
    let label = text.parse().map(|label: Label| label.as_str().to_owned());
    for name in [job, image, label].into_iter().flatten() {
        assert!(
            !name.is_empty() && !name.contains(['/', '\\', '\0']),
            "{name:?}"
        );
    }
    if let Ok(key) = text.parse::<ObjectKey>() {
        let mut components = Path::new(key.as_str()).components();
        assert!(
            components.all(|part| matches!(part, Component::Normal(_))),
            "{key}"
        );
        assert_eq!(key.as_str(), text);
    }
}

/// A list of URLs. The first byte says whether the list is a CSV and where its labels are, and
/// the others are the list. Its expansion must end. Each line of a plain list that is neither
/// blank nor a comment must be found once.
fn url_list(bytes: &[u8]) {
    let Some((kind, content)) = bytes.split_first() else {
        return;
    };
    let labeling = match kind >> 1 & 3 {
        0 => None,
        1 => Some(Labeling::Folder { classes: vec![] }),
        _ => Some(Labeling::column()),
    };
    let suffix = if kind & 1 == 1 { ".csv" } else { ".txt" };
    let mut file = tempfile::Builder::new().suffix(suffix).tempfile();
    let file = file.as_mut().expect("a temporary file");
    file.write_all(content).expect("it takes bytes");
    let plain = kind & 1 == 0 && is_plain(content);
    let lines = plain.then(|| lines_with_urls(content));
    let options = ListOptions {
        labeling,
        ..ListOptions::default()
    };
    let Ok(local) = LocalList::from_file(file.path(), options) else {
        return;
    };
    let local = Arc::new(local);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let (mut cursor, mut found) = (None, 0);
        for _ in 0..=content.len() {
            let step = list::step(local.clone(), cursor.as_deref());
            let Ok(step) = step.await else {
                // A list without a line is refused.
                assert!(lines.is_none_or(|lines| lines == 0), "of {lines:?} lines");
                return;
            };
            for candidate in &step.candidates {
                let is_line = matches!(candidate.location, Location::Line { .. });
                assert!(!is_line || candidate.rejected.is_some(), "{candidate:?}");
            }
            found += step.candidates.len();
            cursor = step.next_cursor;
            if cursor.is_none() {
                match lines {
                    Some(lines) => assert_eq!(found, lines),
                    None => assert!(found <= line_ends(content) + 1, "more than there are lines"),
                }
                return;
            }
        }
        panic!("the expansion does not end");
    });
}

/// Returns whether the list is certainly plain, in UTF-8, and each of its lines is read whole. A
/// CSV names a column of URLs or says what separates its columns, and JSON Lines have an object.
fn is_plain(list: &[u8]) -> bool {
    /// The expansion reads only the beginning of a longer line.
    const READ_WHOLE: usize = 8 << 10;
    let Ok(text) = std::str::from_utf8(list) else {
        return false;
    };
    let text = text.trim_start_matches('\u{feff}').to_ascii_lowercase();
    let has_column = ["url", "uri", "sep="]
        .iter()
        .any(|word| text.contains(word));
    // A text with zeros may be taken for UTF-16.
    let may_be_utf16 = list.contains(&0);
    list.len() <= READ_WHOLE && !has_column && !may_be_utf16 && !text.trim_start().starts_with('{')
}

/// The lines of a plain list that are neither blank nor a comment.
fn lines_with_urls(list: &[u8]) -> usize {
    let lines = list.split(|byte| matches!(byte, b'\n' | b'\r'));
    let with_urls = lines.filter(|line| {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_start_matches('\u{feff}').trim();
        !text.is_empty() && !text.starts_with('#')
    });
    with_urls.count()
}

/// How many bytes may end a line. There are more of them than lines where a line ends with two.
fn line_ends(list: &[u8]) -> usize {
    let ends = list.iter().filter(|byte| matches!(byte, b'\n' | b'\r'));
    ends.count()
}

/// The HTML of a page. The images that are found must have different addresses that can be
/// fetched.
fn html(bytes: &[u8]) {
    let base = Url::parse("https://example.org/people/page.html").expect("a URL");
    let images = page::images(bytes, &base);
    assert!(images.len() <= page::MAX_IMAGES);
    assert!(
        images
            .iter()
            .all(|url| matches!(url.scheme(), "http" | "https"))
    );
    let different: HashSet<&Url> = images.iter().collect();
    assert_eq!(different.len(), images.len());
}

fn robots(bytes: &[u8]) {
    if let Rules::Rules(rules) = Rules::parse(bytes) {
        rules.allows("/people/1.jpg?size=2");
    }
}

/// The validator's worker process, and the runtime that talks to it. In a test the same work is
/// done in a thread.
static WORKER: LazyLock<(Runtime, SandboxedValidator)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let (limits, faces) = (LimitArgs::DEFAULT, FaceArgs::default());
    let worker = SandboxedValidator::new(&limits, &faces, Answer::WithPicture);
    (runtime.expect("a runtime"), worker)
});

/// The file of a picture. Its memory and its size must stay within the limits. A worker of the
/// validator must say what it is without a crash, and may not find it too costly if it can be
/// decoded within the limits.
fn picture(bytes: &[u8]) {
    let limits = Limits {
        bytes: 1 << 20,
        pixels: 1 << 20,
        memory: 16 << 20,
    };
    assert!(memory(bytes, &limits) <= limits.memory);
    let decoded = decode(bytes, &limits);
    let (runtime, worker) = &*WORKER;
    let verdict = runtime.block_on(worker.validate(Bytes::copy_from_slice(bytes)));
    match verdict
        .expect("a worker")
        .map_err(|rejected| rejected.reason)
    {
        Err(Reason::DecoderCrashed { signal }) => panic!("a crash with signal {signal:?}"),
        Err(Reason::TooCostly { limit }) => assert!(decoded.is_err(), "it takes {limit}"),
        Ok(_) | Err(_) => {}
    }
    let Ok(decoded) = decoded else {
        return;
    };
    let (width, height) = decoded.picture.dimensions();
    assert!(width > 0 && height > 0 && width.max(height) <= MAX_SIDE);
    assert!(u64::from(decoded.width) * u64::from(decoded.height) <= limits.pixels);
}

/// Weights in safetensors. Weights without a network's card must be refused.
fn weights(bytes: &[u8]) {
    let card = maskline_models::weights::card(bytes);
    let network = maskline_models::weights::from_safetensors(bytes, &Device::flex());
    assert!(card.is_ok() || network.is_err());
}

/// A shard of a dataset, in Parquet. The class of each row must be one of the dataset's.
fn shard(bytes: &[u8]) {
    const CLASSES: usize = 2;
    let rows = maskline_dataset::read(Bytes::copy_from_slice(bytes), CLASSES);
    let rows = rows.unwrap_or_default();
    assert!(rows.iter().all(|row| row.class < CLASSES));
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn corpus(target: &Target) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let files = fs::read_dir(folder.join(target.name)).into_iter().flatten();
        let files = files.map(|file| fs::read(file.expect("a file").path()));
        files.map(|file| file.expect("it can be read")).collect()
    }

    #[test]
    fn every_condition_holds_for_seeds_corpus_and_damaged_copies_of_them() {
        for target in &TARGETS {
            let all = (target.seeds)().into_iter().chain(corpus(target));
            for bytes in all {
                (target.run)(&bytes);
                // The copies are damaged as by a bad connection: cut short, or with a changed byte.
                (target.run)(&bytes[..bytes.len() / 2]);
                if let Some(middle) = bytes.len().checked_sub(1).map(|last| last / 2) {
                    let mut changed = bytes.clone();
                    changed[middle] ^= 0x55;
                    (target.run)(&changed);
                }
            }
        }
    }

    #[test]
    fn the_parsers_accept_their_seeds() {
        assert!(
            (seeds::messages)()
                .iter()
                .all(|seed| Message::from_json(seed).is_ok())
        );
        let limits = Limits::default();
        assert!(
            (seeds::pictures)()
                .iter()
                .all(|seed| decode(seed, &limits).is_ok())
        );
        let shards = (seeds::shards)();
        assert!(
            shards
                .iter()
                .all(|seed| maskline_dataset::read(seed.clone().into(), 2).is_ok())
        );
        let weights = (seeds::weights)();
        assert!(
            weights
                .iter()
                .all(|seed| maskline_models::weights::card(seed).is_ok())
        );
    }
}
