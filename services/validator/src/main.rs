use std::{alloc::System, process::ExitCode};

use clap::Parser;
use maskline_sandbox::Allocator;
use maskline_validator::{Args, NAME, WORKER, service};

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator(System);

fn main() -> ExitCode {
    maskline_sandbox::serve_if_worker(&[&WORKER]);
    give_back_large_buffers();
    let args = Args::parse();
    maskline_runtime::entry(
        NAME,
        args.runtime.clone(),
        async move { service(&args).await },
    )
}

/// Makes glibc return the memory of files to the system when they are dropped.
///
/// By default glibc raises its threshold after the first large buffers, and keeps later
/// ones for each thread.
fn give_back_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: this sets a number in the allocator while there is no other thread yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}
