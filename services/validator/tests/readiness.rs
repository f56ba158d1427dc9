//! What the validator needs in order to be ready.

use std::net::TcpListener;

use clap::{CommandFactory, Parser};
use maskline_validator::{Args, service};

/// An address at which nobody answers.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    format!("mongodb://{address}/maskline?serverSelectionTimeoutMS=200")
}

#[tokio::test]
async fn it_starts_and_is_ready_while_no_catalog_can_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let objects = format!("file:{}", folder.path().join("objects").display());
    let catalog = nobody();
    let flags = [
        "maskline-validator",
        "--objects",
        &objects,
        "--catalog",
        &catalog,
    ];
    let args = Args::try_parse_from(flags).unwrap();
    let service = service(&args).await.expect("it starts");
    let names: Vec<_> = service.probes.iter().map(|probe| probe.name).collect();
    assert_eq!(names, ["objects"]);
    for probe in &service.probes {
        probe.check().await.expect("it is ready");
    }
    std::fs::remove_dir_all(folder.path().join("objects")).unwrap();
    for probe in &service.probes {
        assert!(probe.check().await.is_err(), "{} is gone", probe.name);
    }
}

#[test]
fn its_help_says_that_the_catalog_is_not_used() {
    let help = Args::command().render_help().to_string();
    assert!(help.contains("does not use the catalog"), "{help}");
}
