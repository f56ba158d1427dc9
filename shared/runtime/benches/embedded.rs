//! The embedded queue between two processes. One publishes durably, the other consumes and
//! acknowledges.
//!
//!     tests/bench embedded

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use maskline_messages::Queue;
use maskline_runtime::{
    Broker, Envelope,
    broker::{self, Headers},
};

const MESSAGES: usize = 40_000;
/// Messages that are published at a time, each of which waits until it is durable, and
/// messages that are acknowledged at a time.
const TOGETHER: usize = 128;

/// The variable that only the second process, the publisher, has. Its value is the queue's
/// address.
const CHILD: &str = "MASKLINE_BENCH_CHILD";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if let Ok(url) = std::env::var(CHILD) {
        return publish(broker::open(&url).await?).await;
    }
    let folder = tempfile::tempdir()?;
    let url = format!("embedded:{}", folder.path().join("queue.db").display());
    let broker = broker::open(&url).await?;
    let mut publisher = Command::new(std::env::current_exe()?)
        .env(CHILD, &url)
        .stdout(Stdio::inherit())
        .spawn()?;
    let mut consumer = broker.consume(Queue::ScraperCandidates, 256).await?;
    let first = consumer.next().await;
    let start = Instant::now();
    first.expect("not closed").settle.ack().await?;
    let deliveries = stream::unfold(&mut consumer, async |consumer| {
        Some((consumer.next().await?, consumer))
    });
    deliveries
        .take(MESSAGES - 1)
        .for_each_concurrent(TOGETHER, async |delivery| {
            delivery.settle.ack().await.expect("it is ours");
        })
        .await;
    let seconds = start.elapsed().as_secs_f64();
    publisher.wait()?;
    println!(
        "consumed:  {:.0} messages/s while another process published, 1 KiB, durable",
        MESSAGES as f64 / seconds
    );
    broker.close().await;
    Ok(())
}

async fn publish(broker: Arc<dyn Broker>) -> anyhow::Result<()> {
    let envelope = Envelope {
        key: "candidate.found".to_owned(),
        headers: Headers::new(),
        body: Bytes::from_static(&[b'x'; 1024]),
    };
    let start = Instant::now();
    stream::iter(std::iter::repeat_n(envelope, MESSAGES))
        .for_each_concurrent(TOGETHER, async |envelope| {
            broker.publish(envelope).await.expect("the queue takes it");
        })
        .await;
    let seconds = start.elapsed().as_secs_f64();
    println!("published: {:.0} messages/s", MESSAGES as f64 / seconds);
    broker.close().await;
    Ok(())
}
