//! Gives one of the parsers what libFuzzer makes up. `MASKLINE_FUZZ` names it;
//! `MASKLINE_FUZZ_SEEDS` is a folder that its seeds are written into first.

#![no_main]

use std::{env, fs, path::PathBuf, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use maskline_fuzz::{TARGETS, Target};

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fuzz_target!(init: begin(), |bytes: &[u8]| {
    let target = TARGET.get().expect("begun");
    (target.run)(bytes);
});

fn begin() {
    // libFuzzer's own ends the process at any panic. One that the product catches is no
    // harm; one that it does not ends the process all the same.
    drop(std::panic::take_hook());
    let name = env::var("MASKLINE_FUZZ").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = TARGET.get_or_init(|| target.expect("MASKLINE_FUZZ names a parser"));
    let Some(folder) = env::var_os("MASKLINE_FUZZ_SEEDS").map(PathBuf::from) else {
        return;
    };
    for (number, seed) in (target.seeds)().iter().enumerate() {
        let written = fs::write(folder.join(format!("seed-{number}")), seed);
        written.expect("MASKLINE_FUZZ_SEEDS is a folder");
    }
}
