//! What tracing costs: images through the four stages, each a process, on RabbitMQ, S3
//! and MongoDB, while every span is sent to a collector, beside the same without one.
//!
//!     tests/bench tracing
//!
//! Three pipelines stand side by side: without a collector, with a real Jaeger by OTLP
//! over gRPC, and with a sink that throws the spans away. Each round gives a job to one
//! after the other, in an order that changes; what counts is the median of the rounds'
//! ratios. On a small machine Jaeger takes processor time from the services, which a
//! collector elsewhere would not: the sink shows what is the services' own, and so does
//! the processor time of their processes.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use maskline_messages::JobId;
use maskline_tests::{
    collection::Collection,
    jaeger::Jaeger,
    place::Place,
    process::Pipeline,
    site::{Manners, Site},
    within,
};
use tokio::net::TcpListener;

/// Images of a job.
const IMAGES: usize = 400;
/// The side of one, in pixels: a face cut out of a photograph.
const SIDE: u32 = 224;
const ROUNDS: usize = 16;
/// The ratio that is aimed at.
const GOAL: f64 = 0.97;

/// Clock ticks in a second, in `/proc`.
const TICKS: f64 = 100.0;

/// A pipeline and what was measured of it.
struct Side {
    name: &'static str,
    place: Place,
    pipeline: Pipeline,
    rounds: Vec<Round>,
}

#[derive(Clone, Copy)]
struct Round {
    images_per_second: f64,
    /// Of all four processes, in milliseconds.
    cpu_per_image: f64,
}

#[tokio::main]
async fn main() {
    let collection = Collection::faces_of_side(1, IMAGES as u64 / 2, SIDE);
    let site = Site::serve(&collection, Manners::default()).await;
    let sink = Sink::start().await;
    let jaeger = Jaeger::from_environment();
    let grpc = [("ENDPOINT", jaeger.otlp()), ("PROTOCOL", "grpc")];
    let at = sink.endpoint();
    let http = [("ENDPOINT", at.as_str()), ("PROTOCOL", "http/protobuf")];
    let mut sides = [
        Side::start("without", &[]).await,
        Side::start("to Jaeger", &grpc).await,
        Side::start("to a sink", &http).await,
    ];
    println!("jobs of {IMAGES} images of {SIDE} pixels; {ROUNDS} rounds and one to warm up\n");
    for round in 0..=ROUNDS {
        for turn in 0..sides.len() {
            let side = &mut sides[(round + turn) % 3];
            let measured = side.run(&site.list()).await;
            if round > 0 {
                side.rounds.push(measured);
            }
        }
    }
    print(&sides);
    println!(
        "\nthe sink was sent {:.1} kB for each of its images",
        sink.kilobytes()
    );
    for side in sides {
        side.pipeline.stop().await;
        side.place.remove().await;
    }
}

impl Side {
    async fn start(name: &'static str, exporter: &[(&str, &str)]) -> Self {
        let mut place = Place::servers().await;
        for (variable, value) in exporter {
            place.set(&format!("OTEL_EXPORTER_OTLP_{variable}"), value);
        }
        Self {
            name,
            pipeline: Pipeline::start(&place, &Pipeline::STAGES).await,
            place,
            rounds: vec![],
        }
    }

    /// One job, from the command to the last image in the books.
    async fn run(&self, list: &str) -> Round {
        let cpu = self.cpu_seconds();
        let began = Instant::now();
        let args = ["urls", list, "--label-from", "column"];
        let job = self.place.enqueue(&args).await;
        within("the last image", self.ended(job)).await;
        let seconds = began.elapsed().as_secs_f64();
        Round {
            images_per_second: IMAGES as f64 / seconds,
            cpu_per_image: (self.cpu_seconds() - cpu) * 1e3 / IMAGES as f64,
        }
    }

    async fn ended(&self, job: JobId) {
        let catalog = self.place.stores().await.catalog;
        loop {
            let books = catalog.counts(job).await.expect("the catalog answers");
            if books.found == IMAGES as u64 && books.in_flight == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What its processes have taken until now.
    fn cpu_seconds(&self) -> f64 {
        let of_one = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux");
            // After the name in parentheses: user time is field 14, system time 15.
            let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
            let fields: Vec<&str> = fields.split_whitespace().collect();
            let ticks = |field: usize| fields[field - 3].parse::<f64>().expect("proc(5)");
            (ticks(14) + ticks(15)) / TICKS
        };
        let processes = self.pipeline.processes().iter();
        processes.map(|process| of_one(process.id())).sum()
    }
}

fn print(sides: &[Side]) {
    let without = &sides[0].rounds;
    println!(
        "{:<12} {:>9} {:>7} {:>14} {:>7}",
        "spans", "images/s", "ratio", "CPU ms/image", "ratio"
    );
    for side in sides {
        let rates = side.rounds.iter().map(|round| round.images_per_second);
        let cpus = side.rounds.iter().map(|round| round.cpu_per_image);
        let pairs = || side.rounds.iter().zip(without);
        let rate = median(pairs().map(|(a, b)| a.images_per_second / b.images_per_second));
        let cpu = median(pairs().map(|(a, b)| a.cpu_per_image / b.cpu_per_image));
        println!(
            "{:<12} {:>9.1} {rate:>7.3} {:>14.2} {cpu:>7.3}",
            side.name,
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

/// Takes OTLP over HTTP and counts bytes.
struct Sink {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Sink {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
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
