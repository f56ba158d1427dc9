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

/// Makes glibc return the memory of pictures to the system when they are dropped.
///
/// By default glibc raises its threshold after the first large buffers, and keeps later
/// ones for each thread. Over 2,846 photographs the peak is 180 MB by default and 100 MB
/// with a fixed threshold, at the same speed.
fn give_back_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: this sets a number in the allocator while there is no other thread yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}
