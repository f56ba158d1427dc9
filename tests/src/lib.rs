//! What the end to end tests in `tests/pipeline` are made of. They start the
//! programs as they are shipped, each a process of its own, and look from outside.
//!
//! * [`place`]: where one test's broker, objects and catalog are.
//! * [`servers`]: servers of a test's own, which it may break.
//! * [`process`]: the services' processes; [`command`]: what a person types.
//! * [`pictures`], [`collection`], [`site`]: drawn images, good and bad, and the
//!   web site or folder that they lie in.
//! * [`dataset`]: a frozen dataset, read back from its shards.
//! * [`collector`]: a receiver of traces; [`jaeger`]: the real one.
//! * [`tls`]: certificates, and TLS before servers that don't speak it.
//! * [`faults`]: all of it while something breaks; [`load`]: all of it for long.

pub mod collection;
pub mod collector;
pub mod command;
pub mod dataset;
pub mod faults;
pub mod jaeger;
pub mod load;
pub mod pictures;
pub mod place;
pub mod process;
pub mod servers;
pub mod site;
pub mod tls;

use std::{path::PathBuf, time::Duration};

/// Long enough for the slowest machine: reached only by what hangs.
const HANGS: Duration = Duration::from_secs(240);

/// What is awaited, or a failed test.
pub async fn within<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(HANGS, awaited).await;
    result.unwrap_or_else(|_| panic!("{what}: waited for it in vain"))
}

/// One of the workspace's programs, built beside the tests.
fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    let folder = this.parent().expect("it lies in a folder");
    // Tests lie in deps/, programs beside it.
    let built = match folder.ends_with("deps") {
        true => folder.parent().expect("deps/ is in the build's folder"),
        false => folder,
    };
    let program = built.join(name);
    assert!(
        program.is_file(),
        "{} is not built: run tests/run, or cargo build --release --workspace --bins",
        program.display()
    );
    program
}

/// The variables of this process that others may see: none of the product's own,
/// which would lead it elsewhere.
fn inherited() -> impl Iterator<Item = (String, String)> {
    let ours = |name: &str| name.starts_with("MASKLINE_") || name.starts_with("OTEL_");
    std::env::vars().filter(move |(name, _)| !ours(name) && name != "RUST_LOG")
}
