//! The workspace's programs, as child processes of a test.

use std::path::PathBuf;

/// The path of one of the workspace's programs, which was built beside the tests. Panics
/// where it is missing.
pub fn path(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    let folder = this.parent().expect("the path of a program has a folder");
    // Cargo puts tests into deps/ and programs beside that folder.
    let built = match folder.ends_with("deps") {
        true => folder.parent().expect("deps/ lies in the build's folder"),
        false => folder,
    };
    let program = built.join(name);
    assert!(
        program.is_file(),
        "{} is not built: run tests/run, or cargo build --workspace --bins with the profile of the tests",
        program.display()
    );
    program
}

/// The variables of this process that a child process inherits. The product's own
/// variables are left out, because they would lead the child to other servers.
pub fn inherited() -> impl Iterator<Item = (String, String)> {
    let ours = |name: &str| name.starts_with("MASKLINE_") || name.starts_with("OTEL_");
    std::env::vars().filter(move |(name, _)| !ours(name) && name != "RUST_LOG")
}
