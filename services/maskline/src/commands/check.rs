//! `maskline check`: validates local files as the pipeline would, without a pipeline.

use std::{
    collections::HashMap,
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use maskline_faces::FaceDetector;
use maskline_foundation::text::printable;
use maskline_messages::{Face, Format, ImageId, Measurements, Reason};
use maskline_validator::{FaceArgs, LimitArgs, validate};
use rayon::prelude::*;
use serde::Serialize;
use walkdir::WalkDir;

use crate::output;

/// The number of files that are examined before their results are printed. It is large
/// enough to keep all cores busy, and it bounds the results in memory.
const CHUNK: usize = 128;

/// Work that takes longer shows a progress bar.
const BAR_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  maskline check photos/
  maskline check photos/ --json | jq -r 'select(.verdict == \"rejected\") | .path'")]
pub(crate) struct Check {
    /// Files, and folders that are searched for files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// One JSON object a line, a line a file
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    faces: FaceArgs,
}

impl Check {
    /// Prints a line for each file, in order. Rejected files are no error. Files that can't
    /// be read are reported at once, and make the command fail at the end.
    pub(crate) async fn run(self) -> Result<()> {
        tokio::task::spawn_blocking(move || check_files(&self)).await?
    }
}

fn check_files(args: &Check) -> Result<()> {
    let detector = args.faces.detector()?;
    let (files, mut unreadable) = find(&args.paths);
    let mut tally = Tally::default();
    let mut bar = CheckBar::new(files.len());
    let printed = in_order(
        &files,
        |path| examine(path, &args.limits, detector.as_ref()),
        |path, examined| {
            bar.advance();
            match examined {
                Ok(examined) => {
                    let report = tally.enter(path, examined);
                    let line = if args.json {
                        report.to_json()
                    } else {
                        report.to_string()
                    };
                    bar.suspend(|| output::print(&line))
                }
                Err(error) => {
                    unreadable += 1;
                    bar.suspend(|| eprintln!("error: {}", printable(&format!("{error:#}"))));
                    Ok(())
                }
            }
        },
    );
    bar.finish();
    printed?;
    output::note(format!(
        "{} accepted, {} rejected",
        tally.accepted, tally.rejected
    ));
    match unreadable {
        0 => Ok(()),
        1 => bail!("1 path can't be read, see above"),
        more => bail!("{more} paths can't be read, see above"),
    }
}

/// The files that `paths` name and those in the folders that they name, each folder
/// sorted. It prints the paths that can't be read, and returns how many there are.
fn find(paths: &[PathBuf]) -> (Vec<PathBuf>, usize) {
    let (mut files, mut unreadable) = (vec![], 0);
    for path in paths {
        for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => files.push(entry.into_path()),
                Err(error) => {
                    unreadable += 1;
                    eprintln!("error: {}", printable(&explained(&error, path)));
                }
            }
        }
    }
    (files, unreadable)
}

/// An error of the walk below `root`, as a sentence.
fn explained(error: &walkdir::Error, root: &Path) -> String {
    let path = error.path().unwrap_or(root).display();
    match error.io_error() {
        Some(error) => format!("{path} can't be read: {error}"),
        None => format!("{path} is a link to a folder that it lies in"),
    }
}

/// Calls `work` with every item on all cores, and `take` with the results in the items'
/// order. The first error of `take` ends it.
fn in_order<I: Sync, R: Send, E>(
    items: &[I],
    work: impl Fn(&I) -> R + Sync,
    mut take: impl FnMut(&I, R) -> Result<(), E>,
) -> Result<(), E> {
    for chunk in items.chunks(CHUNK) {
        let results: Vec<R> = chunk.par_iter().map(&work).collect();
        for (item, result) in chunk.iter().zip(results) {
            take(item, result)?;
        }
    }
    Ok(())
}

/// A file that was read and validated.
struct Examined {
    image: ImageId,
    verdict: Result<Measurements, maskline_validator::Rejected>,
}

fn examine(path: &Path, limits: &LimitArgs, detector: Option<&FaceDetector>) -> Result<Examined> {
    let bytes = std::fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(Examined {
        image: ImageId::of(&bytes),
        verdict: validate(&bytes, limits, detector).map(|accepted| accepted.measurements),
    })
}

/// The files that were examined so far.
#[derive(Default)]
struct Tally {
    accepted: usize,
    rejected: usize,
    /// The first path of each accepted image, to find copies.
    first: HashMap<ImageId, PathBuf>,
}

impl Tally {
    /// Counts a file, and returns its report.
    fn enter<'a>(&mut self, path: &'a Path, examined: Examined) -> FileReport<'a> {
        let Examined { image, verdict } = examined;
        let (rejection, measurements) = match verdict {
            Ok(measurements) => match self.first.get(&image) {
                Some(first) => (Some(Rejection::copy_of(first)), Some(measurements)),
                None => {
                    self.first.insert(image, path.to_owned());
                    (None, Some(measurements))
                }
            },
            Err(rejected) => (
                Some(Rejection::from(rejected.reason)),
                rejected.measurements.map(|measured| *measured),
            ),
        };
        *match rejection {
            None => &mut self.accepted,
            Some(_) => &mut self.rejected,
        } += 1;
        FileReport {
            path,
            image,
            rejection,
            measurements,
        }
    }
}

/// Why a file was rejected.
struct Rejection {
    code: &'static str,
    detail: String,
    /// The size in pixels, if the header says it but the file was not decoded.
    size: Option<(u32, u32)>,
}

impl Rejection {
    fn copy_of(first: &Path) -> Self {
        Self {
            code: "exact_duplicate",
            detail: format!("the same bytes as {}", first.display()),
            size: None,
        }
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        let size = match reason {
            // The width is 0 if the header can't be read.
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

/// The result for one file.
struct FileReport<'a> {
    path: &'a Path,
    image: ImageId,
    rejection: Option<Rejection>,
    measurements: Option<Measurements>,
}

impl FileReport<'_> {
    fn size(&self) -> Option<(u32, u32)> {
        let measured = self.measurements.as_ref().map(|m| (m.width, m.height));
        measured.or_else(|| self.rejection.as_ref()?.size)
    }

    fn to_json(&self) -> String {
        let report = JsonReport {
            path: self.path.to_string_lossy().into_owned(),
            verdict: if self.rejection.is_none() {
                "accepted"
            } else {
                "rejected"
            },
            reason: self.rejection.as_ref().map(|rejection| rejection.code),
            detail: self
                .rejection
                .as_ref()
                .map(|rejection| rejection.detail.as_str()),
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
            faces: self.measurements.as_ref().and_then(|m| m.faces.as_deref()),
        };
        serde_json::to_string(&report).expect("texts and numbers can be serialized")
    }
}

impl std::fmt::Display for FileReport<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = printable(&self.path.to_string_lossy());
        match (&self.rejection, self.size()) {
            (Some(rejection), _) => {
                write!(
                    f,
                    "{path}: rejected {}: {}",
                    rejection.code,
                    printable(&rejection.detail)
                )
            }
            (None, Some((width, height))) => {
                write!(f, "{path}: accepted {width}x{height}")?;
                let faces = self.measurements.as_ref().and_then(|m| m.faces.as_ref());
                match faces.map(Vec::len) {
                    None => Ok(()),
                    Some(0) => write!(f, ", no face"),
                    Some(1) => write!(f, ", 1 face"),
                    Some(more) => write!(f, ", {more} faces"),
                }
            }
            (None, None) => write!(f, "{path}: accepted"),
        }
    }
}

/// A [`FileReport`] as `--json` prints it. Unknown values are null.
#[derive(Serialize)]
struct JsonReport<'a> {
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
    faces: Option<&'a [Face]>,
}

/// A progress bar on a terminal, which appears when the work takes long.
struct CheckBar {
    files: u64,
    done: u64,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl CheckBar {
    fn new(files: usize) -> Self {
        Self {
            files: files as u64,
            done: 0,
            started: Instant::now(),
            bar: None,
        }
    }

    /// Counts one more file as done.
    fn advance(&mut self) {
        self.done += 1;
        if self.bar.is_none() && self.started.elapsed() > BAR_AFTER && stderr().is_terminal() {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} files, {eta} left");
            let style = style.expect("a template of our own");
            self.bar = Some(ProgressBar::new(self.files).with_style(style));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }

    /// Prints above the bar.
    fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
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
        let taken: Result<(), ()> = in_order(
            &items,
            |item| {
                // Some items take longer than those after them.
                (0..(item * 7919 % 97) * 200)
                    .fold(*item, |sum, n| std::hint::black_box(sum + n % 2 - n % 2))
            },
            |item, result| {
                seen.push((*item, result));
                Ok(())
            },
        );
        assert_eq!(taken, Ok(()));
        let expected: Vec<_> = items.iter().map(|item| (*item, *item)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_error_ends_the_results() {
        let items: Vec<u32> = (0..1000).collect();
        let mut taken = vec![];
        let ended = in_order(
            &items,
            |item| *item,
            |item, _| {
                taken.push(*item);
                if *item < 3 { Ok(()) } else { Err("enough") }
            },
        );
        assert_eq!(ended, Err("enough"));
        assert_eq!(taken, [0, 1, 2, 3]);
    }

    #[test]
    fn a_report_names_the_original_of_a_copy_and_the_code_of_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let good = image::RgbImage::from_fn(90, 80, |x, y| {
            image::Rgb([if (x / 9 + y / 7) % 2 == 0 { 40 } else { 210 }; 3])
        });
        let paths = ["a.png", "b.png", "c\u{1b}[2J.jpg"].map(|name| folder.path().join(name));
        good.save(&paths[0]).unwrap();
        std::fs::copy(&paths[0], &paths[1]).unwrap();
        std::fs::write(&paths[2], "<html>").unwrap();
        let (files, unreadable) = find(&[folder.path().to_owned(), folder.path().join("gone")]);
        assert_eq!((&files[..], unreadable), (&paths[..], 1));

        let mut tally = Tally::default();
        let mut report = |path| {
            tally
                .enter(path, examine(path, &LimitArgs::DEFAULT, None).unwrap())
                .to_string()
        };
        let [a, b, c] = [0, 1, 2].map(|at| report(&files[at]));
        let [shown_a, shown_b, shown_c] =
            [0, 1, 2].map(|at: usize| files[at].display().to_string());
        let shown_c = shown_c.replace('\u{1b}', "\\u{1b}");
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
