//! The cost of tracing. Images go through the four stages, each a process, on RabbitMQ, S3
//! and MongoDB. The throughput with every span sent to a collector is compared with the
//! throughput without a collector.
//!
//!     tests/bench tracing
//!
//! Three pipelines run side by side: one without a collector, one with a real Jaeger by OTLP
//! over gRPC, and one with a sink that throws the spans away. Each round gives a job to one
//! after the other, in an order that changes. The result is the median of the rounds' ratios.
//! On a small machine Jaeger takes processor time from the services, which a collector on
//! another machine would not. The sink and the processor time of the services' processes show
//! the cost to the services alone.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use maskline_messages::JobId;
use maskline_test_support::{environment::Environment, jaeger::Jaeger, wait::within};
use maskline_tests::{
    collection::Collection,
    family::processor_seconds,
    process::Pipeline,
    site::{Behaviour, Site},
};
use tokio::net::TcpListener;

/// The number of images in a job.
const IMAGES: usize = 400;
/// The height and width of an image in pixels, like those of a face cut out of a photograph.
const SIDE: u32 = 224;
const ROUNDS: usize = 16;
/// The ratio that tracing should reach.
const GOAL: f64 = 0.97;

/// A pipeline and its measurements.
struct Measured {
    name: &'static str,
    environment: Environment,
    pipeline: Pipeline,
    rounds: Vec<Round>,
}

#[derive(Clone, Copy)]
struct Round {
    images_per_second: f64,
    /// The processor time of all four processes in milliseconds.
    cpu_per_image: f64,
}

#[tokio::main]
async fn main() {
    let collection = Collection::faces_of_side(1, IMAGES as u64 / 2, SIDE);
    let site = Site::serve(&collection, Behaviour::default()).await;
    let sink = Sink::start().await;
    let jaeger = Jaeger::from_environment();
    let grpc = [("ENDPOINT", jaeger.otlp()), ("PROTOCOL", "grpc")];
    let at = sink.endpoint();
    let http = [("ENDPOINT", at.as_str()), ("PROTOCOL", "http/protobuf")];
    let mut pipelines = [
        Measured::start("without", &[]).await,
        Measured::start("to Jaeger", &grpc).await,
        Measured::start("to a sink", &http).await,
    ];
    println!("jobs of {IMAGES} images of {SIDE} pixels; {ROUNDS} rounds and one to warm up\n");
    for round in 0..=ROUNDS {
        for turn in 0..pipelines.len() {
            let pipeline = &mut pipelines[(round + turn) % 3];
            let measured = pipeline.run(&site.list()).await;
            if round > 0 {
                pipeline.rounds.push(measured);
            }
        }
    }
    print(&pipelines);
    println!(
        "\nthe sink was sent {:.1} kB for each of its images",
        sink.kilobytes()
    );
    for measured in pipelines {
        measured.pipeline.stop().await;
        measured.environment.remove().await;
    }
}

impl Measured {
    async fn start(name: &'static str, exporter: &[(&str, &str)]) -> Self {
        let mut environment = Environment::servers().await;
        for (variable, value) in exporter {
            environment.set(&format!("OTEL_EXPORTER_OTLP_{variable}"), value);
        }
        Self {
            name,
            pipeline: Pipeline::start(&environment, &Pipeline::STAGES).await,
            environment,
            rounds: vec![],
        }
    }

    /// Runs one job, from the command until the last image is stored.
    async fn run(&self, list: &str) -> Round {
        let cpu = self.cpu_seconds();
        let began = Instant::now();
        let args = ["urls", list, "--label-from", "column"];
        let job = self.environment.enqueue(&args).await;
        within("the last image", self.ended(job)).await;
        let seconds = began.elapsed().as_secs_f64();
        Round {
            images_per_second: IMAGES as f64 / seconds,
            cpu_per_image: (self.cpu_seconds() - cpu) * 1e3 / IMAGES as f64,
        }
    }

    async fn ended(&self, job: JobId) {
        let catalog = self.environment.stores().await.catalog;
        loop {
            let counts = catalog.counts(job).await.expect("the catalog answers");
            if counts.found == IMAGES as u64 && counts.in_flight == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The processor time that its processes have used until now.
    fn cpu_seconds(&self) -> f64 {
        let processes = self.pipeline.processes().iter();
        processes
            .map(|process| processor_seconds(process.id()))
            .sum()
    }
}

fn print(pipelines: &[Measured]) {
    let without = &pipelines[0].rounds;
    println!(
        "{:<12} {:>9} {:>7} {:>14} {:>7}",
        "spans", "images/s", "ratio", "CPU ms/image", "ratio"
    );
    for pipeline in pipelines {
        let rates = pipeline.rounds.iter().map(|round| round.images_per_second);
        let cpus = pipeline.rounds.iter().map(|round| round.cpu_per_image);
        let pairs = || pipeline.rounds.iter().zip(without);
        let rate = median(pairs().map(|(a, b)| a.images_per_second / b.images_per_second));
        let cpu = median(pairs().map(|(a, b)| a.cpu_per_image / b.cpu_per_image));
        println!(
            "{:<12} {:>9.1} {rate:>7.3} {:>14.2} {cpu:>7.3}",
            pipeline.name,
            median(rates),
            median(cpus)
        );
    }
    println!("\naimed at: {GOAL} of the images per second");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// Receives spans by OTLP over HTTP, counts their bytes and throws them away.
struct Sink {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Sink {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("the port is bound");
        let bytes = Arc::new(AtomicU64::new(0));
        let count = |State(bytes): State<Arc<AtomicU64>>, body: Bytes| async move {
            bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        };
        let router = Router::new()
            .route("/v1/traces", post(count))
            .with_state(bytes.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, bytes }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn kilobytes(&self) -> f64 {
        let images = (ROUNDS + 1) * IMAGES;
        self.bytes.load(Ordering::Relaxed) as f64 / 1e3 / images as f64
    }
}
