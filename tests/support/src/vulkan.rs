//! Tests of what runs on a GPU, on a driver in software.

use std::{env, ffi::OsString, process::Command};

/// The variable that only a test's child process has.
const CHILD: &str = "MASKLINE_TEST_GPU_CHILD";

/// The variable with which these tests take the machine's GPU in place of software, as
/// `tests/gpu` does.
const HARDWARE: &str = "MASKLINE_TEST_GPU";

/// Whether maskline takes a driver in software for a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    Allowed,
    Refused,
}

/// Runs `body` where the device `gpu` is Mesa's lavapipe, the driver that `tests/servers` found or
/// downloaded. `test` is the name of the calling test in its program: the program is started once
/// more for this test, because wgpu looks for drivers only once in a process, and the loader of
/// libraries reads its variable when the process begins.
///
/// # Panics
/// If the child fails, with what it has printed.
pub fn on_gpu(test: &str, software: Software, body: impl FnOnce()) {
    if env::var_os(CHILD).is_some() {
        return body();
    }
    let me = env::current_exe().expect("the test's own file");
    let mut child = Command::new(me);
    child.args(["--exact", "--nocapture", test]).env(CHILD, "1");
    let on_hardware = env::var_os(HARDWARE).is_some();
    // On hardware the variable stays as it is, so that no software stands in for the GPU.
    if !on_hardware || software == Software::Refused {
        let allowed = u8::from(software == Software::Allowed);
        child.env("MASKLINE_SOFTWARE_GPU", allowed.to_string());
    }
    if !on_hardware {
        child
            .env("VK_DRIVER_FILES", variable("MASKLINE_TEST_VULKAN"))
            .env(
                "LD_LIBRARY_PATH",
                variable("MASKLINE_TEST_VULKAN_LIBRARIES"),
            );
    }
    let output = child.output().expect("the child starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    println!("{printed}");
    assert!(
        output.status.success(),
        "{test} on a GPU:\n{printed}{errors}"
    );
    assert!(printed.contains("1 passed"), "no test is called {test}");
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run tests/run"))
}
