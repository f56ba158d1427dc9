//! What the `main` of a service or a command needs.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::{runtime, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    config::RuntimeArgs,
    runner::run,
    service::Service,
    telemetry::{self, Telemetry},
};

/// How long blocking work is waited for once everything else has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The whole of a service's `main`: runs the service that `service` makes,
/// until SIGTERM or Ctrl-C. `name` is the stage's, such as `validator`.
pub fn entry(
    name: &str,
    args: RuntimeArgs,
    service: impl Future<Output = anyhow::Result<Service>>,
) -> ExitCode {
    let settings = telemetry::Settings {
        service: format!("maskline-{name}"),
        default_level: "info",
    };
    launch(settings, async move {
        let stop = stop_on_signals()?;
        let start = async {
            let service = service.await?;
            let broker = args.connection.open_broker().await?;
            anyhow::Ok((service, broker))
        };
        let Some(started) = stop.run_until_cancelled(start).await else {
            return Ok(());
        };
        let (service, broker) = started?;
        let result = run(vec![service], &args, broker.clone(), stop).await;
        broker.close().await;
        result
    })
}

/// Runs `work` on a new tokio runtime with telemetry, prints what went wrong as
/// `error: …` with its causes, and sends the last spans.
pub fn launch(
    settings: telemetry::Settings,
    work: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    match launched(&settings, work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn launched(
    settings: &telemetry::Settings,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start: no threads to run on")?;
    let telemetry = {
        let _within = runtime.enter();
        Telemetry::start(settings)?
    };
    log_panics();
    let result = runtime.block_on(work);
    // The runtime still lives: the gRPC exporter works on it.
    telemetry.shutdown();
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// Panics as log lines, with their trace; a handler's is caught and becomes a
/// dead letter.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured)
            .then(|| backtrace.to_string());
        error!(location, backtrace, "panicked: {message}");
    }));
}

/// A token that SIGTERM or Ctrl-C cancels; a second signal ends the process at
/// once. To be called once, within the tokio runtime.
pub fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let listen = |kind| tokio::signal::unix::signal(kind).context("can't listen for signals");
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        loop {
            let kind = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            if stopping.is_cancelled() {
                // As shells say of what a signal ended.
                std::process::exit(128 + kind.as_raw_value());
            }
            info!("stopping: finishing what is in hand (a second signal stops at once)");
            stopping.cancel();
        }
    });
    Ok(stop)
}
