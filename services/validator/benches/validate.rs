//! What it costs to validate pictures in worker processes: pictures per second, and per second of
//! a processor, beside the same function in threads of one process.
//!
//!     tests/bench validate
//!     cargo bench -p maskline-validator --bench validate -- FOLDER
//!
//! The pictures are those of FOLDER, or photographs beside the repository, or else drawn. The two
//! ways take turns, because machines are not always equally fast. Faces are looked for.

use std::{
    alloc::System,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use image::{Rgb, RgbImage};
use maskline_sandbox::Allocator;
use maskline_test_support::real_images;
use maskline_validator::{Answer, FaceArgs, LimitArgs, SandboxedValidator, WORKER, validate};
use maskline_vision::encode;
use tokio::{sync::Semaphore, task::spawn_blocking};

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator(System);

const ROUNDS: usize = 5;
/// The most pictures, so that a round takes some seconds.
const MOST_PICTURES: usize = 1500;
/// The pictures in hand for each core, as in the service.
const IN_HAND: usize = 4;
/// The ratio that workers should reach.
const GOAL: f64 = 0.95;

fn main() {
    maskline_sandbox::serve_if_worker(&[&WORKER]);
    // SAFETY: this sets a number in the allocator while there is no other thread yet. The service
    // does the same.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(compare());
}

async fn compare() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let photographs = || real_images::folder().map(|folder| folder.join("face-masks"));
    let pictures = match folder.map(PathBuf::from).or_else(photographs) {
        Some(folder) => read(&folder),
        None => (0..64).map(drawn).collect(),
    };
    let bytes: usize = pictures.iter().map(Bytes::len).sum();
    println!(
        "{} pictures of {} kB on average",
        pictures.len(),
        bytes / pictures.len() / 1000
    );
    let detector = FaceArgs::default().detector().expect("a detector");
    let threads = Threads {
        detector: Arc::new(detector),
        cores: Arc::new(Semaphore::new(cores())),
    };
    let (limits, faces) = (LimitArgs::DEFAULT, FaceArgs::default());
    let workers = SandboxedValidator::new(&limits, &faces, Answer::WithPicture);
    let (mut in_threads, mut in_workers) = (vec![], vec![]);
    for round in 0..=ROUNDS {
        let one = measure(&pictures, async |bytes| threads.validate(bytes).await).await;
        let in_worker = async |bytes| workers.validate(bytes).await.expect("a worker").is_ok();
        let other = measure(&pictures, in_worker).await;
        assert_eq!(one.accepted, other.accepted);
        // The first round warms up.
        if round > 0 {
            in_threads.push(one);
            in_workers.push(other);
        }
    }
    print("threads", &in_threads, &in_threads);
    print("workers", &in_workers, &in_threads);
    println!("\naimed at: {GOAL} of the pictures per second of a processor");
    println!(
        "resident when idle: {} MiB in all workers",
        resident(&children()) >> 20
    );
}

/// The stage as it was without workers.
struct Threads {
    detector: Arc<Option<maskline_faces::FaceDetector>>,
    cores: Arc<Semaphore>,
}

impl Threads {
    async fn validate(&self, bytes: Bytes) -> bool {
        let _core = self.cores.acquire().await.expect("never closed");
        let detector = self.detector.clone();
        let validated = spawn_blocking(move || {
            let accepted = validate(&bytes, &LimitArgs::DEFAULT, (*detector).as_ref());
            accepted.map(|accepted| accepted.jpeg()).is_ok()
        });
        validated.await.expect("it does not panic")
    }
}

struct Round {
    per_second: f64,
    /// Per second of a processor.
    per_processor_second: f64,
    accepted: usize,
}

async fn measure(pictures: &[Bytes], validate: impl AsyncFn(Bytes) -> bool) -> Round {
    let (began, before) = (Instant::now(), processor_time());
    let verdicts = stream::iter(pictures)
        .map(|bytes| validate(bytes.clone()))
        .buffer_unordered(IN_HAND * cores());
    let accepted = verdicts
        .filter(|accepted| std::future::ready(*accepted))
        .count()
        .await;
    let count = pictures.len() as f64;
    Round {
        per_second: count / began.elapsed().as_secs_f64(),
        per_processor_second: count / (processor_time() - before).as_secs_f64(),
        accepted,
    }
}

fn print(name: &str, rounds: &[Round], baseline: &[Round]) {
    let rates = |value: fn(&Round) -> f64| {
        let ratios = rounds
            .iter()
            .zip(baseline)
            .map(|(a, b)| value(a) / value(b));
        (median(rounds.iter().map(value)), median(ratios))
    };
    let (rate, ratio) = rates(|round| round.per_second);
    let (per_core, ratio_per_core) = rates(|round| round.per_processor_second);
    println!(
        "{name}: {rate:.1} pictures/s (ratio {ratio:.3}), \
         {per_core:.1} per processor second (ratio {ratio_per_core:.3})"
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The processor time of this process and its children, user and system.
fn processor_time() -> Duration {
    let own = stat(std::process::id()).expect("Linux");
    // With the workers that have ended, because others took their places.
    let mut ticks: u64 = own[11..=14].iter().sum();
    for worker in children() {
        ticks += stat(worker).map_or(0, |fields| fields[11] + fields[12]);
    }
    Duration::from_millis(10 * ticks)
}

fn children() -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let this = u64::from(std::process::id());
    ids.filter(|id| stat(*id).is_some_and(|fields| fields[1] == this))
        .collect()
}

/// The fields of proc(5) after the name, the first of which is no number.
fn stat(process: u32) -> Option<Vec<u64>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields = fields.split_whitespace();
    Some(
        fields
            .map(|field| field.parse().unwrap_or_default())
            .collect(),
    )
}

/// The bytes of memory that are resident, without those that are shared with other processes.
fn resident(processes: &[u32]) -> u64 {
    let of_one = |process: &u32| {
        let statm = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
        let pages: Vec<u64> = statm
            .split(' ')
            .filter_map(|n| n.trim().parse().ok())
            .collect();
        pages
            .get(1)
            .zip(pages.get(2))
            .map_or(0, |(all, shared)| 4096 * (all - shared))
    };
    processes.iter().map(of_one).sum()
}

/// The pictures of a folder and of its folders.
fn read(folder: &Path) -> Vec<Bytes> {
    let (mut folders, mut files) = (vec![folder.to_owned()], vec![]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => files.push(path),
            }
        }
    }
    files.sort();
    // All parts of the folder, if there are too many.
    let step = files.len().div_ceil(MOST_PICTURES).max(1);
    let read = |path: &PathBuf| fs::read(path).expect("a file").into();
    files.iter().step_by(step).map(read).collect()
}

/// A picture like a photograph of 900 × 700 pixels: soft shapes, edges and noise.
fn drawn(seed: u32) -> Bytes {
    let mut random = seed.wrapping_mul(2_654_435_761) | 1;
    let picture = RgbImage::from_fn(900, 700, |x, y| {
        // Xorshift (Marsaglia, 2003).
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let shape = ((x + 40 * seed) / 90 + y / 70) % 4;
        let soft = (x / 9 + y / 7 + 30 * shape) as u8;
        let noise = (random % 16) as u8;
        Rgb([soft.saturating_add(noise), soft / 2 + noise, 200 - soft / 2])
    });
    encode::jpeg(&picture, 85).into()
}
