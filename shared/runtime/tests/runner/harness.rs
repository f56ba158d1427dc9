//! The harness of the tests: a broker, handlers made of closures, messages.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use maskline_messages::{
    CandidateFound, ImageRejected, JobId, Location, Message, Queue, QueueMessage, Reason,
    SourceExpanded,
};
use maskline_runtime::{
    Consume, Context, Failure, Handler, Outcome, RetryPolicy, Runner, RuntimeArgs, Sender, Service,
    broker::DeadLetterReason,
};
use maskline_test_support::messages;
use tempfile::TempDir;
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    spans,
    watched::{Event, Watched},
};

/// The limit of all waiting. Even the slowest machine does not reach it, unless something
/// hangs.
const HANGS: Duration = Duration::from_secs(60);

pub async fn within<T>(awaited: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(HANGS, awaited).await;
    result.expect("what is waited for does not come")
}

/// A test's own broker, and the settings of a runner that retries quickly.
pub struct Harness {
    pub args: RuntimeArgs,
    pub broker: Arc<Watched>,
    pub sender: Sender,
    events: UnboundedReceiver<Event>,
    _folder: TempDir,
}

impl Harness {
    pub async fn new() -> Self {
        spans::record();
        let folder = TempDir::new().expect("a temporary folder");
        let args = RuntimeArgs {
            retry: RetryPolicy {
                base: 0.001,
                factor: 1.0,
                cap: 0.001,
                attempts: 3,
            },
            ..RuntimeArgs::for_data(folder.path())
        };
        let inner = args
            .connection
            .open_broker()
            .await
            .expect("the embedded broker opens");
        let (broker, events) = Watched::around(inner);
        Self {
            args,
            sender: Sender::new(broker.clone()),
            broker,
            events,
            _folder: folder,
        }
    }

    pub async fn start(&self, services: Vec<Service>) -> Running {
        let runner = Runner::bind(services, &self.args, self.broker.clone());
        let runner = runner.await.expect("a free port");
        let address = runner.http_address().expect("the port is not off");
        let stop = CancellationToken::new();
        let task = tokio::spawn(runner.run(stop.clone()));
        Running {
            address,
            stop,
            task,
        }
    }

    /// Publishes a message and checks that it becomes durable.
    pub async fn send(&mut self, message: impl Into<Message>) {
        let message = message.into();
        let key = message.key();
        let sent = self.sender.send(message).await;
        sent.expect("the broker takes it");
        assert_eq!(self.next().await, published(key));
    }

    /// The next event.
    pub async fn next(&mut self) -> Event {
        within(self.events.recv()).await.expect("the broker lives")
    }

    /// The reason of the next event, which must be a dead letter.
    pub async fn dead_lettered(&mut self) -> DeadLetterReason {
        match self.next().await {
            Event::DeadLettered(reason) => reason,
            other => panic!("{other:?} is no dead letter"),
        }
    }

    /// True if there were no more events.
    pub fn is_quiet(&mut self) -> bool {
        self.events.try_recv().is_err()
    }

    /// Takes and acknowledges the next message of a queue.
    pub async fn take(&mut self, queue: Queue) -> Message {
        let mut consumer = self
            .broker
            .consume(queue, 1)
            .await
            .expect("it can be taken from");
        let delivery = within(consumer.next()).await.expect("not closed");
        let message = Message::from_json(&delivery.envelope.body).expect("a message");
        delivery.settle.ack().await.expect("it is ours");
        assert_eq!(self.next().await, Event::Acked);
        consumer.close().await;
        message
    }
}

pub fn published(key: &str) -> Event {
    Event::Published(key.to_owned())
}

/// Services that run, and how to stop them.
pub struct Running {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Asks the services to stop and waits until they have, with all their spans ended.
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = within(self.task).await.expect("the runner does not panic");
        ended.expect("nothing failed");
    }
}

type Handle<M> = dyn Fn(M, Context) -> BoxFuture<'static, Result<Outcome, Failure>> + Send + Sync;

/// A handler made of a closure.
struct Stub<M>(Box<Handle<M>>);

#[async_trait]
impl<M: QueueMessage> Handler for Stub<M> {
    type Message = M;

    fn concurrency(&self) -> usize {
        2
    }

    async fn handle(&self, message: M, context: &Context) -> Result<Outcome, Failure> {
        (self.0)(message, context.clone()).await
    }
}

/// A service with one handler, which is `handle` and takes two messages at a time. `name`
/// is the test's own: metrics and spans are the whole process's.
pub fn stub<M, F, Fut>(name: &'static str, handle: F) -> Service
where
    M: QueueMessage,
    F: Fn(M, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, Failure>> + Send + 'static,
{
    let handle =
        move |message, context| -> BoxFuture<'static, _> { Box::pin(handle(message, context)) };
    Service::new(name).handler(Stub(Box::new(handle)))
}

/// A job's `n`th candidate.
pub fn candidate(job: JobId, n: u32) -> CandidateFound {
    messages::found(job, Location::Path(format!("photos/{n}.jpg").into()))
}

pub fn rejection(of: &CandidateFound) -> ImageRejected {
    ImageRejected {
        fetched: None,
        job: of.job,
        candidate: of.candidate,
        image: None,
        stage: "test".to_owned(),
        reason: Reason::Empty,
        history: Vec::new(),
    }
}

pub fn expanded(job: JobId) -> SourceExpanded {
    SourceExpanded { job, found: 1 }
}
