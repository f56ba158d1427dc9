//! What the `main` function of a service or of the command calls.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use maskline_foundation::text::printable;
use tokio::{runtime, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    config::RuntimeArgs,
    runner::run,
    service::Service,
    telemetry::{self, Telemetry},
};

/// How long to wait for blocking work after everything else has ended.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Runs the service that `service` makes, until SIGTERM or Ctrl-C. A service's `main`
/// needs nothing else. `name` is the service's name, such as `validator`.
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

/// Runs `work` on a new tokio runtime with telemetry, and sends the last spans. Prints an
/// error with its causes as `error: …`.
pub fn launch(
    settings: telemetry::Settings,
    work: impl Future<Output = anyhow::Result<()>>,
) -> ExitCode {
    match launched(&settings, work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", printable(&format!("{error:#}")));
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
    // The gRPC exporter works on the runtime, so it is shut down while the runtime is there.
    telemetry.shutdown();
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// Writes panics as log lines, with their backtrace. (The runner catches a handler's panic
/// and sends the message to the dead letters.)
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

/// Returns a token that SIGTERM or Ctrl-C cancels. A second signal ends the process at
/// once. Call this once, within the tokio runtime.
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
                // This is the code by which shells report that a signal ended a process.
                std::process::exit(128 + kind.as_raw_value());
            }
            info!("stopping: finishing what is in hand (a second signal stops at once)");
            stopping.cancel();
        }
    });
    Ok(stop)
}
