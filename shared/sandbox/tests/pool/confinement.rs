//! What a worker can't do.

use std::{fs::File, os::fd::AsRawFd};

use super::*;

/// A descriptor that nothing else of this process has.
const INHERITED: i32 = 99;

#[tokio::test]
async fn a_worker_can_open_neither_a_file_nor_a_socket_and_start_nothing() {
    let pool = pool(LIMITS);
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    std::fs::write(&old, "text").unwrap();
    let denied = [
        format!("open {}", old.display()),
        "open /proc/self/status".to_owned(),
        "open /dev/null".to_owned(),
        format!("create {}", new.display()),
        format!("remove {}", old.display()),
        "list /".to_owned(),
        "listen".to_owned(),
        "datagram".to_owned(),
        "socket-pair".to_owned(),
        "run /bin/true".to_owned(),
        "thread".to_owned(),
        format!("signal {}", std::process::id()),
    ];
    for request in denied {
        let answer = ask(&pool, &request).await.unwrap();
        assert_eq!(answer, "PermissionDenied", "{request}");
    }
    assert!(old.exists() && !new.exists());
}

#[tokio::test]
async fn a_worker_gives_up_all_that_this_kernel_can_take_from_it() {
    id(&pool(LIMITS)).await;
    let log = std::fs::read_to_string(LOG.path()).unwrap();
    let all = log.contains("workers have no files, no network and no other system calls");
    let old_kernel = log.contains("Landlock (this kernel does not have it)");
    assert!(all || old_kernel, "{log}");
}

#[tokio::test]
async fn a_worker_has_no_variable_and_no_descriptor_of_its_parent() {
    // Cargo gives variables to a test.
    assert!(std::env::vars().count() > 3);
    let file = File::open("/etc/passwd").unwrap();
    // SAFETY: the descriptor is open, and the other one is nobody's. Child processes inherit it.
    assert_eq!(
        unsafe { libc::dup2(file.as_raw_fd(), INHERITED) },
        INHERITED
    );
    let pool = pool(LIMITS);
    let environment = ask(&pool, "environment").await.unwrap();
    assert_eq!(environment, "MASKLINE_SANDBOXED_WORKER");
    let open = ask(&pool, format!("read-descriptor {INHERITED}")).await;
    assert_eq!(open.unwrap(), "not open");
}

#[tokio::test]
async fn a_worker_has_one_thread_and_no_way_to_more_rights() {
    let pool = pool(LIMITS);
    let worker = id(&pool).await;
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("proc(5)")
            .trim_start_matches(':')
            .trim()
            .to_owned()
    };
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Threads"), "1");
    // Libraries that divide their work among threads do it in this one.
    assert_eq!(ask(&pool, "threads-of-rayon").await.unwrap(), "1: 3");
    let limits = std::fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    let open = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    assert!(open.unwrap().contains(" 0 "), "{limits}");
}
