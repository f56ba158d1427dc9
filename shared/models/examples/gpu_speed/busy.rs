//! How busy a GPU is, as NVIDIA's driver reports it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A sample is the driver's mean over up to so long before it.
const LOOKS_BACK: Duration = Duration::from_secs(1);

/// Asks `nvidia-smi` five times a second how busy the GPUs are.
pub struct Sampler {
    process: Child,
    began: Instant,
    /// The lines that it has printed, with their times.
    samples: JoinHandle<Vec<(Instant, String)>>,
}

impl Sampler {
    /// Returns `None` if there is no `nvidia-smi`.
    pub fn start() -> Option<Self> {
        let mut process = Command::new("nvidia-smi")
            .arg("--query-gpu=index,utilization.gpu")
            .args(["--format=csv,noheader,nounits", "--loop-ms=200"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let output = process.stdout.take().expect("the output is piped");
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let samples = thread::spawn(move || lines.map(|line| (Instant::now(), line)).collect());
        Some(Self {
            process,
            began: Instant::now(),
            samples,
        })
    }

    /// The share of the time since the start (0–1) in which the GPU computed. Of several GPUs it is
    /// that of the busiest. `None` if the driver does not tell, or the time was too short.
    pub fn stop(mut self) -> Option<f64> {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let samples = self.samples.join().ok()?;
        let mut gpus: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (at, line) in samples {
            if at < self.began + LOOKS_BACK {
                continue;
            }
            let Some((gpu, percent)) = line.split_once(',') else {
                continue;
            };
            if let Ok(percent) = percent.trim().parse::<f64>() {
                gpus.entry(gpu.to_owned()).or_default().push(percent);
            }
        }
        let mean = |samples: &Vec<f64>| samples.iter().sum::<f64>() / samples.len() as f64;
        let busiest = gpus.values().map(mean).max_by(f64::total_cmp)?;
        Some(busiest / 100.0)
    }
}
