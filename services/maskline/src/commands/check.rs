//! `maskline check`: the validator's verdict on local files, without a pipeline.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write, stderr, stdout},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use maskline_messages::{Format, ImageId, Measurements, Reason};
use maskline_validator::{LimitArgs, judge};
use serde::Serialize;
use walkdir::WalkDir;

/// Work that takes longer shows how far it is.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  maskline check photos/
  maskline check photos/ --json | jq -r 'select(.verdict == \"rejected\") | .path'")]
pub struct CheckArgs {
    /// Files, and folders that are searched for files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// One JSON object a line, a line a file
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Prints a line for each file, in order. That some are rejected is no error;
/// that some can't be read is one, at the end.
pub async fn check(args: CheckArgs) -> Result<()> {
    tokio::task::spawn_blocking(move || check_files(&args)).await?
}

fn check_files(args: &CheckArgs) -> Result<()> {
    let (files, mut unreadable) = find(&args.paths);
    let mut tally = Tally::default();
    let mut progress = Progress::new(files.len());
    let mut out = stdout().lock();
    let mut printed = Ok(());
    in_order(
        &files,
        |path| examine(path, &args.limits),
        |path, examined| {
            progress.step();
            match examined {
                Ok(examined) => {
                    let report = tally.enter(path, examined);
                    let line = if args.json {
                        report.to_json()
                    } else {
                        report.to_string()
                    };
                    printed = progress.above(|| writeln!(out, "{line}"));
                    printed.is_ok()
                }
                Err(error) => {
                    unreadable += 1;
                    progress.above(|| eprintln!("error: {error:#}"));
                    true
                }
            }
        },
    );
    progress.finish();
    match printed {
        // Whoever reads has seen enough (`| head`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
        printed => printed.context("the verdicts can't be written")?,
    }
    eprintln!("{} accepted, {} rejected", tally.accepted, tally.rejected);
    match unreadable {
        0 => Ok(()),
        1 => bail!("1 path can't be read, see above"),
        more => bail!("{more} paths can't be read, see above"),
    }
}

/// The files named and those in the folders named, each folder sorted, and how
/// many paths can't be read, which are printed.
fn find(paths: &[PathBuf]) -> (Vec<PathBuf>, usize) {
    let (mut files, mut unreadable) = (vec![], 0);
    for path in paths {
        for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => files.push(entry.into_path()),
                Err(error) => {
                    unreadable += 1;
                    eprintln!("error: {}", explained(&error, path));
                }
            }
        }
    }
    (files, unreadable)
}

fn explained(error: &walkdir::Error, asked: &Path) -> String {
    let path = error.path().unwrap_or(asked).display();
    match error.io_error() {
        Some(error) => format!("{path} can't be read: {error}"),
        None => format!("{path} is a link to a folder that it lies in"),
    }
}

/// Calls `work` with every item on all cores, and `take` with the results in the
/// items' order, until it says `false`.
fn in_order<I: Sync, R: Send>(
    items: &[I],
    work: impl Fn(&I) -> R + Sync,
    mut take: impl FnMut(&I, R) -> bool,
) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (results, arriving) = mpsc::channel();
        for _ in 0..cores {
            let (results, next, work) = (results.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    if results.send((index, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(results);
        let mut early = HashMap::new();
        let mut turn = 0;
        for (index, result) in arriving {
            early.insert(index, result);
            while let Some(result) = early.remove(&turn) {
                if !take(&items[turn], result) {
                    return;
                }
                turn += 1;
            }
        }
    });
}

/// What the file's bytes are.
struct Examined {
    image: ImageId,
    verdict: Result<Measurements, maskline_validator::Rejected>,
}

fn examine(path: &Path, limits: &LimitArgs) -> Result<Examined> {
    let bytes = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(Examined {
        image: ImageId::of(&bytes),
        verdict: judge(&bytes, limits).map(|accepted| accepted.measurements),
    })
}

/// What has been seen so far.
#[derive(Default)]
struct Tally {
    accepted: usize,
    rejected: usize,
    /// Where bytes that were accepted lie first.
    first: HashMap<ImageId, PathBuf>,
}

impl Tally {
    fn enter<'a>(&mut self, path: &'a Path, examined: Examined) -> Report<'a> {
        let Examined { image, verdict } = examined;
        let (refusal, measurements) = match verdict {
            Ok(measurements) => match self.first.get(&image) {
                Some(first) => (Some(Refusal::copy_of(first)), Some(measurements)),
                None => {
                    self.first.insert(image, path.to_owned());
                    (None, Some(measurements))
                }
            },
            Err(rejected) => (Some(Refusal::from(rejected.reason)), rejected.measurements),
        };
        *match refusal {
            None => &mut self.accepted,
            Some(_) => &mut self.rejected,
        } += 1;
        Report {
            path,
            image,
            refusal,
            measurements,
        }
    }
}

/// Why a file is rejected.
struct Refusal {
    code: &'static str,
    detail: String,
    /// Pixels, where the file says how many but was not decoded.
    size: Option<(u32, u32)>,
}

impl Refusal {
    fn copy_of(first: &Path) -> Self {
        Self {
            code: "exact_duplicate",
            detail: format!("the same bytes as {}", first.display()),
            size: None,
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        let size = match reason {
            // A header that can't be read says nothing.
            Reason::TooLarge { width, height, .. } if width > 0 => Some((width, height)),
            _ => None,
        };
        Self {
            code: reason.code(),
            detail: reason.to_string(),
            size,
        }
    }
}

/// One file's line.
struct Report<'a> {
    path: &'a Path,
    image: ImageId,
    refusal: Option<Refusal>,
    measurements: Option<Measurements>,
}

impl Report<'_> {
    fn size(&self) -> Option<(u32, u32)> {
        let measured = self.measurements.as_ref().map(|m| (m.width, m.height));
        measured.or_else(|| self.refusal.as_ref()?.size)
    }

    fn to_json(&self) -> String {
        let line = Line {
            path: self.path.to_string_lossy().into_owned(),
            verdict: if self.refusal.is_none() {
                "accepted"
            } else {
                "rejected"
            },
            reason: self.refusal.as_ref().map(|refusal| refusal.code),
            detail: self.refusal.as_ref().map(|refusal| refusal.detail.as_str()),
            sha256: self.image,
            width: self.size().map(|(width, _)| width),
            height: self.size().map(|(_, height)| height),
            format: self.measurements.as_ref().map(|m| m.format),
            brightness: self.measurements.as_ref().map(|m| m.brightness),
            contrast: self.measurements.as_ref().map(|m| m.contrast),
            sharpness: self.measurements.as_ref().map(|m| m.sharpness),
            phash: self
                .measurements
                .as_ref()
                .map(|m| format!("{:016x}", m.phash)),
            phash_mirrored: self
                .measurements
                .as_ref()
                .map(|m| format!("{:016x}", m.phash_mirrored)),
        };
        serde_json::to_string(&line).expect("texts and numbers")
    }
}

impl std::fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.display();
        match (&self.refusal, self.size()) {
            (Some(refusal), _) => {
                write!(f, "{path}: rejected {}: {}", refusal.code, refusal.detail)
            }
            (None, Some((width, height))) => write!(f, "{path}: accepted {width}x{height}"),
            (None, None) => write!(f, "{path}: accepted"),
        }
    }
}

/// A file for a program to read; what is not known is null.
#[derive(Serialize)]
struct Line<'a> {
    path: String,
    verdict: &'static str,
    reason: Option<&'static str>,
    detail: Option<&'a str>,
    sha256: ImageId,
    width: Option<u32>,
    height: Option<u32>,
    format: Option<Format>,
    brightness: Option<f32>,
    contrast: Option<f32>,
    sharpness: Option<f32>,
    phash: Option<String>,
    phash_mirrored: Option<String>,
}

/// A bar on a terminal, once patience is at its end.
struct Progress {
    files: u64,
    done: u64,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(files: usize) -> Self {
        Self {
            files: files as u64,
            done: 0,
            started: Instant::now(),
            bar: None,
        }
    }

    fn step(&mut self) {
        self.done += 1;
        if self.bar.is_none() && self.started.elapsed() > PATIENCE && stderr().is_terminal() {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} files, {eta} left");
            let style = style.expect("a template of our own");
            self.bar = Some(ProgressBar::new(self.files).with_style(style));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }

    /// Prints without tearing the bar.
    fn above<R>(&self, print: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_none_is_lost() {
        let items: Vec<u64> = (0..500).collect();
        let mut seen = vec![];
        in_order(
            &items,
            |item| {
                // Some take longer than those after them.
                (0..(item * 7919 % 97) * 200)
                    .fold(*item, |sum, n| std::hint::black_box(sum + n % 2 - n % 2))
            },
            |item, result| {
                seen.push((*item, result));
                true
            },
        );
        let expected: Vec<_> = items.iter().map(|item| (*item, *item)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn whoever_has_seen_enough_gets_no_more() {
        let items: Vec<u32> = (0..1000).collect();
        let mut taken = vec![];
        in_order(
            &items,
            |item| *item,
            |item, _| {
                taken.push(*item);
                *item < 3
            },
        );
        assert_eq!(taken, [0, 1, 2, 3]);
    }

    #[test]
    fn a_copy_names_the_first_and_a_reason_its_code() {
        let folder = tempfile::tempdir().unwrap();
        let good = image::RgbImage::from_fn(90, 80, |x, y| {
            image::Rgb([if (x / 9 + y / 7) % 2 == 0 { 40 } else { 210 }; 3])
        });
        let paths = ["a.png", "b.png", "c.jpg"].map(|name| folder.path().join(name));
        good.save(&paths[0]).unwrap();
        std::fs::copy(&paths[0], &paths[1]).unwrap();
        std::fs::write(&paths[2], "<html>").unwrap();
        let (files, unreadable) = find(&[folder.path().to_owned(), folder.path().join("gone")]);
        assert_eq!((&files[..], unreadable), (&paths[..], 1));

        let mut tally = Tally::default();
        let mut report = |path| {
            tally
                .enter(path, examine(path, &LimitArgs::DEFAULT).unwrap())
                .to_string()
        };
        let [a, b, c] = [0, 1, 2].map(|at| report(&files[at]));
        let [shown_a, shown_b, shown_c] = [0, 1, 2].map(|at: usize| files[at].display());
        assert_eq!(a, format!("{shown_a}: accepted 90x80"));
        assert_eq!(
            b,
            format!("{shown_b}: rejected exact_duplicate: the same bytes as {shown_a}")
        );
        assert_eq!(
            c,
            format!("{shown_c}: rejected not_an_image: not an image (looks like html)")
        );
        assert_eq!((tally.accepted, tally.rejected), (1, 2));
    }
}
