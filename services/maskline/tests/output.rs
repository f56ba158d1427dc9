//! The command as a shell sees it.

use std::process::{Command, Stdio};

#[test]
fn a_command_whose_output_nobody_reads_ends_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let command = Command::new(env!("CARGO_BIN_EXE_maskline"))
        .args(["datasets", "--data"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(writer)
        .output();
    let output = command.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
