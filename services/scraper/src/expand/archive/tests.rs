use std::{io::Write, path::Path};

use flate2::{Compression as Level, write::DeflateEncoder, write::GzEncoder};
use maskline_messages::{Label, Reason};
use maskline_test_support::environment::Environment;
use rawzip::{CompressionMethod, ZipArchiveWriter};

use super::*;
use crate::{
    expand::candidate::SourceCandidate,
    fetch::{FetchLimits, Fetcher},
};

type Files<'a> = [(&'a str, &'a [u8])];

fn tar(files: &Files) -> Vec<u8> {
    let mut tar = tar::Builder::new(vec![]);
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // The builder would refuse the names that a test is about.
        let bytes = name.as_bytes();
        match bytes.len() < 100 {
            true => {
                header.as_gnu_mut().unwrap().name[..bytes.len()].copy_from_slice(bytes);
                header.set_cksum();
                tar.append(&header, *content).unwrap();
            }
            false => tar.append_data(&mut header, name, *content).unwrap(),
        }
    }
    tar.into_inner().unwrap()
}

fn zip(files: &Files, method: CompressionMethod) -> Vec<u8> {
    let mut bytes = vec![];
    let mut zip = ZipArchiveWriter::new(&mut bytes);
    for (name, content) in files {
        let path = rawzip::path::EntryPath::verbatim(name.as_bytes());
        let (mut entry, config) = zip
            .new_file(path)
            .compression_method(method)
            .start()
            .unwrap();
        if method == CompressionMethod::DEFLATE {
            let mut writer = config.wrap(DeflateEncoder::new(&mut entry, Level::default()));
            writer.write_all(content).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            entry.finish(descriptor).unwrap();
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(content).unwrap();
            let (_, descriptor) = writer.finish().unwrap();
            entry.finish(descriptor).unwrap();
        }
    }
    zip.finish().unwrap();
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Level::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The same files in every format that is read.
fn all_formats(files: &Files) -> Vec<(&'static str, Vec<u8>)> {
    let tar = tar(files);
    vec![
        ("tar.gz", gzip(&tar)),
        ("tar.zst", zstd::encode_all(&*tar, 1).unwrap()),
        ("tar", tar),
        ("zip", zip(files, CompressionMethod::DEFLATE)),
        ("zip of stored files", zip(files, CompressionMethod::STORE)),
    ]
}

/// All candidates, with the steps' sizes. With `keep`, one process takes all steps; without, each
/// is taken by a process that knows nothing of the last one.
async fn expand(
    archive: &[u8],
    labeling: Option<&Labeling>,
    keep: bool,
) -> Result<(Vec<SourceCandidate>, Vec<usize>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faces.bin");
    std::fs::write(&path, archive).unwrap();
    expand_file(&path, labeling, keep).await
}

async fn expand_file(
    path: &Path,
    labeling: Option<&Labeling>,
    keep: bool,
) -> Result<(Vec<SourceCandidate>, Vec<usize>), String> {
    let location = Location::Path(path.to_owned());
    let environment = Environment::embedded();
    let fetcher = Fetcher::for_tests(&environment, FetchLimits::for_tests()).await;
    let (mut found, mut sizes, mut cursor, mut kept) = (vec![], vec![], None::<String>, None);
    loop {
        let (step, open) = step(&fetcher, &location, labeling, cursor.as_deref(), kept)
            .await
            .map_err(|error| error.to_string())?;
        let content = step
            .candidates
            .iter()
            .filter_map(|found| found.content.as_ref());
        let content: usize = content.map(|content| content.len()).sum();
        assert!(
            content as u64 <= STEP_CONTENT + (2 << 20),
            "{content} bytes in a step"
        );
        sizes.push(step.candidates.len());
        found.extend(step.candidates);
        kept = keep.then_some(open);
        cursor = step.next_cursor;
        if cursor.is_none() {
            return Ok((found, sizes));
        }
    }
}

fn shown(found: &[SourceCandidate]) -> Vec<String> {
    let one = |found: &SourceCandidate| {
        let Location::Member { index, name, .. } = &found.location else {
            panic!("{found:?}");
        };
        let label = found.label.as_ref().map_or("-", Label::as_str);
        match &found.rejected {
            Some(reason) => format!("{index} {name}: {reason}"),
            None => format!(
                "{index} {name} {label} {}",
                found.content.as_ref().unwrap().len()
            ),
        }
    };
    found.iter().map(one).collect()
}

#[tokio::test]
async fn every_format_gives_the_same_members_with_their_bytes() {
    let large = vec![7; 3 << 20];
    let long = format!("with_mask/{}.jpg", "x".repeat(200));
    let files: [(&str, &[u8]); 7] = [
        ("./with_mask/1.jpg", b"one"),
        (".hidden/2.jpg", b"two"),
        ("without_mask/3.png", b"three"),
        (&long, b"four"),
        ("__MACOSX/with_mask/._1.jpg", b"five"),
        ("with_mask/empty.jpg", b""),
        ("with_mask/large.jpg", &large),
    ];
    for (format, archive) in all_formats(&files) {
        let labeling = Labeling::Folder { classes: vec![] };
        let (found, _) = expand(&archive, Some(&labeling), true).await.unwrap();
        let expected = [
            "0 with_mask/1.jpg with_mask 3".to_owned(),
            "2 without_mask/3.png without_mask 5".to_owned(),
            format!("3 {long} with_mask 4"),
            "5 with_mask/empty.jpg: no bytes".to_owned(),
            "6 with_mask/large.jpg: 3145728 bytes, 2097152 at most".to_owned(),
        ];
        assert_eq!(shown(&found), expected, "{format}");
        assert_eq!(
            found[0].content.as_deref(),
            Some(b"one".as_slice()),
            "{format}"
        );
    }
}

#[tokio::test]
async fn webdataset_tells_labels_and_provenance() {
    let files: [(&str, &[u8]); 11] = [
        ("000.jpg", b"image"),
        ("000.cls", b"1\n"),
        (
            "000.json",
            br#"{"url": "http://a/0.jpg", "author": "Ana", "label": 0}"#,
        ),
        ("000.txt", b"a face"),
        ("001.JPG", b"image"),
        (
            "001.json",
            br#"{"label": "without_mask", "caption": "another"}"#,
        ),
        ("002.png", b"image"),
        ("002.json", b"{broken"),
        ("003.jpg", b"image"),
        ("004.cls", b"1"),
        ("readme.md", b"about"),
    ];
    let with: Label = "with_mask".parse().unwrap();
    let labeling = Labeling::Column {
        name: None,
        map: [("1".to_owned(), with)].into(),
    };
    for (format, archive) in all_formats(&files) {
        let (found, _) = expand(&archive, Some(&labeling), false).await.unwrap();
        let lines = shown(&found);
        assert_eq!(lines[0], "0 000.jpg with_mask 5", "{format}");
        assert_eq!(lines[1], "4 001.JPG without_mask 5", "{format}");
        assert!(lines[2].starts_with("6 002.png: can't be read: the .json beside it"));
        assert_eq!(lines[3], "8 003.jpg - 5", "{format}");
        // What stands beside no image is a candidate, as it is in a folder.
        assert_eq!(
            lines[4..],
            ["9 004.cls - 1", "10 readme.md - 5"],
            "{format}"
        );
        let provenance = &found[0].provenance;
        assert_eq!(provenance.title.as_deref(), Some("a face"));
        assert_eq!(provenance.creator.as_deref(), Some("Ana"));
        assert_eq!(provenance.other["url"], "http://a/0.jpg");
        assert_eq!(found[1].provenance.title.as_deref(), Some("another"));
    }
}

#[tokio::test]
async fn names_that_lead_out_links_and_folders_are_no_images() {
    let files: [(&str, &[u8]); 3] = [
        ("../../etc/passwd", b"root"),
        ("/etc/passwd", b"root"),
        ("a/../../b.jpg", b"image"),
    ];
    for (format, archive) in all_formats(&files) {
        let (found, _) = expand(&archive, None, true).await.unwrap();
        assert_eq!(found.len(), 3, "{format}");
        for line in shown(&found) {
            assert!(
                line.contains("leads out of the archive"),
                "{format}: {line}"
            );
        }
    }
    let mut builder = tar::Builder::new(vec![]);
    for (kind, name) in [
        (tar::EntryType::Symlink, "link.jpg"),
        (tar::EntryType::Link, "hard.jpg"),
        (tar::EntryType::Directory, "folder"),
        (tar::EntryType::Fifo, "pipe.jpg"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        builder
            .append_link(&mut header, name, "/etc/passwd")
            .unwrap();
    }
    let (found, _) = expand(&builder.into_inner().unwrap(), None, true)
        .await
        .unwrap();
    let lines = shown(&found);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("it is a link")));
}

#[tokio::test]
async fn many_members_are_read_in_steps_by_any_process() {
    let names: Vec<_> = (0..2 * STEP_SIZE + 300)
        .map(|n| format!("{n:05}.jpg"))
        .collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), name.as_bytes()))
        .collect();
    let expected: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| format!("{index} {name} - 9"))
        .collect();
    for (format, archive) in all_formats(&files) {
        for keep in [true, false] {
            let (found, sizes) = expand(&archive, None, keep).await.unwrap();
            assert_eq!(sizes, [STEP_SIZE, STEP_SIZE, 300], "{format} {keep}");
            assert_eq!(shown(&found), expected, "{format} {keep}");
        }
    }
}

#[tokio::test]
async fn the_bytes_of_a_step_are_bounded_and_groups_are_not_cut() {
    // Noise, because what shrinks too well is taken for a bomb.
    let mut seed = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(1 << 20)
    .collect();
    let names: Vec<_> = (0..40)
        .map(|n| (format!("{n:02}.jpg"), format!("{n:02}.cls")))
        .collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .flat_map(|(image, class)| [(image.as_str(), &*noise), (class.as_str(), b"a".as_slice())])
        .collect();
    for (format, archive) in all_formats(&files) {
        let (found, sizes) = expand(&archive, Some(&Labeling::column()), false)
            .await
            .unwrap();
        assert_eq!(found.len(), 40, "{format}");
        assert!(sizes.len() >= 3, "{format}: {sizes:?}");
        assert!(found.iter().all(|found| found.label.is_some()), "{format}");
    }
}

#[tokio::test]
async fn an_archive_that_becomes_too_much_is_refused() {
    let zeros = vec![0; 8 << 20];
    let names: Vec<_> = (0..16).map(|n| format!("{n}.bin")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &*zeros)).collect();
    let bombs = [
        gzip(&tar(&files)),
        zstd::encode_all(&*tar(&files), 1).unwrap(),
        zip(&files, CompressionMethod::DEFLATE),
    ];
    for bomb in bombs {
        let error = expand(&bomb, None, true).await.unwrap_err();
        assert!(error.contains("a decompression bomb"), "{error}");
    }
}

#[tokio::test]
async fn a_zip_whose_members_overlap_is_refused() {
    let content = vec![7; 100_000];
    let mut bytes = zip(&[("a.jpg", &content)], CompressionMethod::STORE);
    // The entry of the one member in the central directory is there twenty times.
    let end = bytes.len() - 22;
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (size, begin) = (number(end + 12), number(end + 16));
    let entry = bytes[begin..begin + size].to_vec();
    let mut last = bytes[end..].to_vec();
    bytes.truncate(begin);
    for _ in 0..20 {
        bytes.extend_from_slice(&entry);
    }
    last[8..10].copy_from_slice(&20_u16.to_le_bytes());
    last[10..12].copy_from_slice(&20_u16.to_le_bytes());
    last[12..16].copy_from_slice(&(20 * size as u32).to_le_bytes());
    bytes.extend_from_slice(&last);
    let error = expand(&bytes, None, true).await.unwrap_err();
    assert!(error.contains("overlap"), "{error}");
}

#[tokio::test]
async fn what_is_no_archive_or_a_damaged_one_says_so() {
    let good = tar(&[("1.jpg", b"one"), ("2.jpg", &[7; 5000])]);
    let cases: [(&[u8], &str); 8] = [
        (b"", "has no bytes"),
        (
            b"<!doctype html><html>",
            "has none of the formats that are read: an archive is zip, tar, tar.gz or tar.zst",
        ),
        (b"BZh91AY", "is packed by bzip2, which is not read"),
        (&gzip(b"url,label\n"), "holds no tar"),
        (&gzip(&good)[..40], "can't be decompressed"),
        (b"PK\x03\x04 and no more", "is no zip that can be read"),
        (
            &good[..2000],
            "can't be read on from member 1: it is cut off",
        ),
        (&[0; 1024], "no images in the archive"),
    ];
    for (bytes, expected) in cases {
        for keep in [true, false] {
            let error = expand(bytes, None, keep).await.unwrap_err();
            assert!(error.contains(expected), "{error} for {expected}");
        }
    }
    let mut damaged = zip(
        &[("1.jpg", b"one"), ("2.jpg", b"two")],
        CompressionMethod::STORE,
    );
    let at = damaged.windows(3).position(|word| word == b"one").unwrap();
    damaged[at] ^= 1;
    let (found, _) = expand(&damaged, None, true).await.unwrap();
    let reason = found[0].rejected.clone().unwrap();
    assert!(matches!(&reason, Reason::Unreadable { detail } if detail.contains("damaged")));
    assert_eq!(shown(&found)[1], "1 2.jpg - 3");
}

#[tokio::test]
async fn what_lies_before_a_damage_is_found() {
    let noise: Vec<_> = (0..50_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let good = tar(&[("1.jpg", b"one"), ("2.jpg", &noise)]);
    let packed = gzip(&good);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faces.bin");
    let location = Location::Path(path.clone());
    let environment = Environment::embedded();
    let fetcher = Fetcher::for_tests(&environment, FetchLimits::for_tests()).await;
    for half in [&good[..good.len() / 2], &packed[..packed.len() / 2]] {
        std::fs::write(&path, half).unwrap();
        let begun = step(&fetcher, &location, None, None, None).await;
        let (first, open) = begun.ok().unwrap();
        assert_eq!(shown(&first.candidates), ["0 1.jpg - 3"]);
        let cursor = first.next_cursor.as_deref();
        assert!(cursor.is_some(), "the damage is still to be reported");
        for kept in [Some(open), None] {
            let next = step(&fetcher, &location, None, cursor, kept).await;
            let error = next.err().unwrap().to_string();
            let expected = "faces.bin can't be read on from member 1: it is";
            assert!(error.contains(expected), "{error}");
            assert!(error.ends_with("`maskline freeze` takes it"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_archive_that_changes_between_steps_is_not_mixed_up() {
    let names: Vec<_> = (0..STEP_SIZE + 5).map(|n| format!("{n}.jpg")).collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| (name.as_str(), b"x".as_slice()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    std::fs::write(&path, tar(&files)).unwrap();
    let environment = Environment::embedded();
    let fetcher = Fetcher::for_tests(&environment, FetchLimits::for_tests()).await;
    let location = Location::Path(path.clone());
    let (first, kept) = step(&fetcher, &location, None, None, None).await.unwrap();
    std::fs::write(&path, tar(&files[1..])).unwrap();
    let cursor = first.next_cursor.as_deref();
    let error = step(&fetcher, &location, None, cursor, Some(kept)).await;
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("was changed while it was read, at member 1000"),
        "{error}"
    );
}

/// Archives of other programs, where this machine has Python.
#[tokio::test]
async fn archives_of_python_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
import tarfile, zipfile, io
names = ["with_mask/1.jpg", "without_mask/é 2.jpg", "with_mask/" + "x" * 90 + "/" + "y" * 60 + ".jpg"]
for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
    with tarfile.open(f"{kind}.tar.gz", "w:gz", format=kind) as t:
        for name in names:
            info = tarfile.TarInfo(name); info.size = 3
            t.addfile(info, io.BytesIO(b"abc"))
with zipfile.ZipFile("a.zip", "w", zipfile.ZIP_DEFLATED) as z:
    for name in names: z.writestr(name, "abc")
"#;
    let python = std::process::Command::new("python3")
        .args(["-c", script])
        .current_dir(folder.path())
        .status();
    if !python.is_ok_and(|status| status.success()) {
        return;
    }
    let mut archives = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let (found, _) = expand_file(&path, Some(&Labeling::Folder { classes: vec![] }), true)
            .await
            .unwrap();
        let lines = shown(&found);
        assert_eq!(lines.len(), 3, "{path:?}");
        assert_eq!(lines[0], "0 with_mask/1.jpg with_mask 3");
        assert_eq!(lines[1], "1 without_mask/é 2.jpg without_mask 3");
        archives += 1;
    }
    assert_eq!(archives, 4);
}
