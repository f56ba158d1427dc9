use std::process::ExitCode;

use clap::Parser;
use maskline_validator::{Args, NAME, service};

fn main() -> ExitCode {
    let args = Args::parse();
    maskline_runtime::entry(
        NAME,
        args.runtime.clone(),
        async move { service(&args).await },
    )
}
