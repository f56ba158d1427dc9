use std::process::ExitCode;

use clap::Parser;
use maskline::{DECODER, cli::Cli};
use maskline_sandbox::Allocator;

// Networks make and drop large tensors all the time; an allocator that keeps
// the memory saves a third of a training step's time.
#[global_allocator]
static ALLOCATOR: Allocator<mimalloc::MiMalloc> = Allocator(mimalloc::MiMalloc);

fn main() -> ExitCode {
    maskline_sandbox::serve_if_worker(&[&maskline_validator::WORKER, &DECODER]);
    Cli::parse().run()
}
