//! Workers that die, and workers that say what none of ours says.

use super::*;

async fn crash(request: &str) -> Option<i32> {
    let pool = pool(LIMITS);
    let Err(Failed::Crashed { signal }) = ask(&pool, request).await else {
        panic!("{request} did not crash");
    };
    assert_eq!(ask(&pool, "echo next").await.unwrap(), "next", "{request}");
    signal
}

#[tokio::test]
async fn a_worker_that_dies_fails_its_request_with_the_signal() {
    assert_eq!(crash("segfault").await, Some(libc::SIGSEGV));
    assert_eq!(crash("abort").await, Some(libc::SIGABRT));
    assert_eq!(crash("panic").await, Some(libc::SIGABRT));
    assert_eq!(crash("exit").await, None);
}

#[tokio::test]
async fn a_worker_that_answers_nonsense_or_too_much_is_given_up() {
    assert_eq!(crash("nonsense").await, None);
    assert_eq!(crash(&format!("long {}", LIMITS.answer + 1)).await, None);
}

#[tokio::test]
async fn a_worker_that_is_killed_while_it_works_fails_that_request_alone() {
    let pool = pool(LIMITS);
    let worker = id(&pool).await;
    let killed = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // SAFETY: it is a child of this process, which nobody has waited for.
        assert_eq!(unsafe { libc::kill(worker as i32, libc::SIGKILL) }, 0);
    };
    let (answer, ()) = tokio::join!(ask(&pool, "spin"), killed);
    let signal = Some(libc::SIGKILL);
    assert_eq!(answer, Err(Failed::Crashed { signal }));
    assert_eq!(ask(&pool, "echo next").await.unwrap(), "next");
}

#[tokio::test]
async fn a_worker_that_died_while_it_was_idle_is_nobodys_failure() {
    let pool = pool(LIMITS);
    let worker = id(&pool).await;
    // SAFETY: it is a child of this process, which nobody has waited for.
    assert_eq!(unsafe { libc::kill(worker as i32, libc::SIGKILL) }, 0);
    let state = || std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
    while state().contains(") S ") || state().contains(") R ") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ask(&pool, "echo next").await.unwrap(), "next");
}
