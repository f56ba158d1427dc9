//! Gives one of the parsers the inputs that libFuzzer makes up. `MASKLINE_FUZZ` names the parser.
//! `MASKLINE_FUZZ_SEEDS` names a folder, into which the parser's seeds are written first.

#![no_main]

use std::{
    alloc::System,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, set_hook},
    path::PathBuf,
    process::abort,
    sync::{Mutex, OnceLock, PoisonError},
};

use libfuzzer_sys::fuzz_target;
use maskline_fuzz::{TARGETS, Target};
use maskline_sandbox::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator(System);

static TARGET: OnceLock<&'static Target> = OnceLock::new();

/// The message and the source location of the last panic.
static PANIC: Mutex<String> = Mutex::new(String::new());

fuzz_target!(init: begin(), |bytes: &[u8]| {
    let target = TARGET.get().expect("libFuzzer has called begin");
    if catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err() {
        eprintln!("{}", PANIC.lock().unwrap_or_else(PoisonError::into_inner));
        // libFuzzer saves the bytes then.
        abort();
    }
});

fn begin() {
    maskline_sandbox::serve_if_worker(&[&maskline_validator::WORKER]);
    let name = env::var("MASKLINE_FUZZ").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = TARGET.get_or_init(|| target.expect("MASKLINE_FUZZ names a parser"));
    // libFuzzer's own hook ends the process at any panic. A panic that the product catches is
    // harmless, and is not printed.
    set_hook(Box::new(|panic| {
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
    }));
    let Some(folder) = env::var_os("MASKLINE_FUZZ_SEEDS").map(PathBuf::from) else {
        return;
    };
    for (number, seed) in (target.seeds)().iter().enumerate() {
        let written = fs::write(folder.join(format!("seed-{number}")), seed);
        written.expect("MASKLINE_FUZZ_SEEDS is a folder");
    }
}
