use std::process::ExitCode;

use clap::Parser;
use maskline_validator::{Args, NAME, service};

fn main() -> ExitCode {
    give_back_large_buffers();
    let args = Args::parse();
    maskline_runtime::entry(
        NAME,
        args.runtime.clone(),
        async move { service(&args).await },
    )
}

/// Pictures go back to the system as soon as they are dropped.
///
/// Left to itself glibc learns from the first large buffers to keep them, for
/// each thread: 180 MB at the peak over 2,846 photographs, 100 MB so, at the same
/// speed.
fn give_back_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number in the allocator, while there is no other thread yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}
