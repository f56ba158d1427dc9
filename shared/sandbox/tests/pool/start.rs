//! How workers begin and end.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use super::*;

async fn not_started(setup: &[u8], place: Place) -> String {
    let pool = Pool::new(&ROLE, setup.to_vec(), LIMITS, place);
    let warmed = pool.warm_up().await;
    match (warmed, ask(&pool, "echo x").await) {
        (Err(Failed::NotStarted(why)), Err(Failed::NotStarted(again))) => {
            assert_eq!(why, again);
            why
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_worker_that_cannot_begin_says_why() {
    assert_eq!(not_started(b"fail", tester()).await, "as the test asked");
    assert_eq!(not_started(b"panic", tester()).await, "a panic");
    // A thread would keep its rights.
    let thread = not_started(b"thread", tester()).await;
    assert!(thread.contains("this one has 2"), "{thread}");
    let no_program = not_started(b"", Place::Program("/nowhere".into())).await;
    assert!(no_program.contains("can't be started"), "{no_program}");
    let no_worker = not_started(b"", Place::Program("/bin/true".into())).await;
    assert!(no_worker.contains("exit status: 0"), "{no_worker}");
}

#[tokio::test]
async fn signals_that_are_for_the_parent_do_not_end_a_worker() {
    let pool = pool(LIMITS);
    let worker = id(&pool).await;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: it is a child of this process, which nobody has waited for.
        assert_eq!(unsafe { libc::kill(worker as i32, signal) }, 0);
    }
    assert_eq!(id(&pool).await, worker);
}

#[test]
fn a_worker_ends_with_its_parent_whatever_it_does() {
    let program = env!("CARGO_BIN_EXE_maskline-sandbox-tester");
    let mut parent = Command::new(program)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut worker = String::new();
    let printed = parent.stdout.take().unwrap();
    BufReader::new(printed).read_line(&mut worker).unwrap();
    let worker = format!("/proc/{}", worker.trim());
    assert!(Path::new(&worker).exists());
    parent.kill().unwrap();
    parent.wait().unwrap();
    while Path::new(&worker).exists() && !is_zombie(&worker) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process has ended, and its new parent has not noticed yet.
fn is_zombie(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("{process}/stat"));
    stat.is_ok_and(|stat| stat.contains(") Z "))
}
