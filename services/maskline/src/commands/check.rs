//! `maskline check`: validates local files as the pipeline would, without a pipeline.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use futures::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use maskline_foundation::{path_text, regular_file, text::printable, walk};
use maskline_messages::{Face, Format, ImageId, Measurements, Reason};
use maskline_validator::{Answer, FaceArgs, LimitArgs, SandboxedValidator};
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::output;

/// The number of files in hand for each worker: while one is examined, others are read.
const FILES_PER_WORKER: usize = 3;

/// The most bytes of a file that are read into memory. No image has as many.
const MAX_BYTES: u64 = 1 << 30;

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
        check_files(&self).await
    }
}

async fn check_files(args: &Check) -> Result<()> {
    let workers = SandboxedValidator::new(&args.limits, &args.faces, Answer::Measurements);
    workers.warm_up().await?;
    let (files, mut unreadable) = find(&args.paths);
    let mut tally = Tally::default();
    let mut bar = CheckBar::new(files.len());
    let printed = in_order(
        &files,
        FILES_PER_WORKER * workers.workers(),
        async |path| examine(path, &workers).await,
        |path, examined| {
            bar.advance();
            match examined {
                Ok(examined) => {
                    let report = tally.enter(path, examined);
                    bar.suspend(|| match args.json {
                        true => output::print_json(&report.json()),
                        false => output::print(&report),
                    })
                }
                Err(error) => {
                    unreadable += 1;
                    bar.suspend(|| {
                        output::note(format!("error: {}", printable(&format!("{error:#}"))))
                    });
                    Ok(())
                }
            }
        },
    )
    .await;
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
    for entry in paths.iter().flat_map(|path| walk::files_at(path)) {
        match entry.problem {
            None => files.push(entry.path),
            Some(problem) => {
                unreadable += 1;
                let path = path_text::shown(&entry.path);
                output::note(format!(
                    "error: {path} can't be read: {}",
                    printable(&problem)
                ));
            }
        }
    }
    (files, unreadable)
}

/// Calls `work` with every item, with `at_a_time` of them at the same time, and `take` with the
/// results in the items' order. The first error of `take` ends it.
async fn in_order<I, R, E>(
    items: &[I],
    at_a_time: usize,
    work: impl AsyncFn(&I) -> R,
    mut take: impl FnMut(&I, R) -> Result<(), E>,
) -> Result<(), E> {
    let work = &work;
    let mut results = stream::iter(items)
        .map(|item| async move { (item, work(item).await) })
        .buffered(at_a_time);
    while let Some((item, result)) = results.next().await {
        take(item, result)?;
    }
    Ok(())
}

/// A file that was read and validated.
struct Examined {
    image: ImageId,
    verdict: Result<Measurements, maskline_validator::Rejected>,
}

async fn examine(path: &Path, workers: &SandboxedValidator) -> Result<Examined> {
    let file = path.to_owned();
    let reading = spawn_blocking(move || {
        let bytes = regular_file::read(&file, MAX_BYTES)?;
        Ok((ImageId::of(&bytes), bytes))
    });
    let read: std::io::Result<_> = reading.await?;
    let (image, bytes) =
        read.with_context(|| format!("{} can't be read", path_text::shown(path)))?;
    let verdict = workers.validate(bytes.into()).await?;
    Ok(Examined {
        image,
        verdict: verdict.map(|accepted| accepted.measurements),
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
            detail: format!("the same bytes as {}", path_text::shown(first)),
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

    fn json(&self) -> JsonReport<'_> {
        JsonReport {
            path: path_text::to_text(self.path),
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
        }
    }
}

impl std::fmt::Display for FileReport<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = path_text::shown(self.path);
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
    path: Cow<'a, str>,
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

    #[tokio::test]
    async fn results_come_in_order_and_none_is_lost() {
        let items: Vec<u64> = (0..500).collect();
        let mut seen = vec![];
        let taken: Result<(), ()> = in_order(
            &items,
            7,
            async |item| {
                // Some items take longer than those after them.
                for _ in 0..item * 7919 % 97 {
                    tokio::task::yield_now().await;
                }
                *item
            },
            |item, result| {
                seen.push((*item, result));
                Ok(())
            },
        )
        .await;
        assert_eq!(taken, Ok(()));
        let expected: Vec<_> = items.iter().map(|item| (*item, *item)).collect();
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn an_error_ends_the_results() {
        let items: Vec<u32> = (0..1000).collect();
        let mut taken = vec![];
        let ended = in_order(
            &items,
            7,
            async |item| *item,
            |item, _| {
                taken.push(*item);
                if *item < 3 { Ok(()) } else { Err("enough") }
            },
        )
        .await;
        assert_eq!(ended, Err("enough"));
        assert_eq!(taken, [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn a_report_names_the_original_of_a_copy_and_the_code_of_a_reason() {
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

        let faces = FaceArgs { no_faces: true };
        let workers = SandboxedValidator::new(&LimitArgs::DEFAULT, &faces, Answer::Measurements);
        let mut tally = Tally::default();
        let mut reports = vec![];
        for path in &files {
            let examined = examine(path, &workers).await.unwrap();
            reports.push(tally.enter(path, examined).to_string());
        }
        let [a, b, c] = <[String; 3]>::try_from(reports).unwrap();
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
