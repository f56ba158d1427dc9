//! The bounds of a request.

use maskline_sandbox::Limit;

use super::*;

const MIB: u64 = 1 << 20;

fn memory(mebibytes: u64) -> Result<String, Failed> {
    Err(Failed::TooCostly(Limit::Memory(mebibytes * MIB)))
}

#[tokio::test]
async fn memory_is_bounded_however_it_is_taken() {
    let pool = pool(LIMITS);
    for command in ["take", "take-small"] {
        let fits = ask(&pool, format!("{command} 16")).await;
        assert_eq!(fits.as_deref(), Ok(""), "{command}");
        let refused = ask(&pool, format!("{command} 200")).await;
        assert_eq!(refused, memory(32), "{command}");
        assert_eq!(ask(&pool, "echo next").await.unwrap(), "next");
    }
}

#[tokio::test]
async fn memory_that_is_claimed_may_be_taken_but_not_more_than_there_is() {
    let pool = pool(LIMITS);
    assert!(ask(&pool, "claim 60").await.is_ok());
    assert_eq!(ask(&pool, "claim 200").await, memory(96));
    // What one request claimed is no one's after it.
    assert_eq!(ask(&pool, "take 150").await, memory(32));
}

#[tokio::test]
async fn a_worker_gives_memory_back_and_keeps_a_bounded_part() {
    let pool = pool(LIMITS);
    let worker = id(&pool).await;
    let resident = || {
        let statm = std::fs::read_to_string(format!("/proc/{worker}/statm")).unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    };
    let before = resident();
    for _ in 0..20 {
        ask(&pool, "claim 60").await.unwrap();
        ask(&pool, "take-small 20").await.unwrap();
    }
    assert_eq!(id(&pool).await, worker);
    // What all workers of a pool keep together is 48 MiB; the rest is what glibc does not sort out.
    let kept = 48 * MIB / pool.workers() as u64;
    let grown = resident().saturating_sub(before);
    assert!(grown <= kept + 2 * MIB, "{} MiB more", grown / MIB);
}

#[tokio::test]
async fn what_requests_claim_is_shared_among_them() {
    let pool = pool(LIMITS);
    let asked = (0..4).map(|_| ask(&pool, "claim 60"));
    let mut times: Vec<(u64, u64)> = futures::future::join_all(asked)
        .await
        .into_iter()
        .map(|answer| {
            let answer = answer.unwrap();
            let times = answer.trim_matches(['(', ')']).split_once(", ");
            let (began, ended) = times.expect("two times");
            (began.parse().unwrap(), ended.parse().unwrap())
        })
        .collect();
    times.sort_unstable();
    for pair in times.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two at the same time: {pair:?}");
    }
}

#[tokio::test]
async fn processor_time_is_bounded() {
    let limits = Limits {
        processor_time: Duration::from_millis(200),
        ..LIMITS
    };
    let pool = pool(limits);
    let limit = Limit::ProcessorTime(limits.processor_time);
    for _ in 0..2 {
        assert_eq!(ask(&pool, "spin").await, Err(Failed::TooCostly(limit)));
    }
    // It is counted for each request anew, and a worker that waits takes none.
    assert_eq!(ask(&pool, "sleep 600").await.as_deref(), Ok(""));
    assert_eq!(ask(&pool, "echo next").await.unwrap(), "next");
}

#[tokio::test]
async fn time_is_bounded() {
    let limits = Limits {
        time: Duration::from_millis(300),
        ..LIMITS
    };
    let pool = pool(limits);
    let limit = Limit::Time(limits.time);
    let slept = ask(&pool, "sleep 600000").await;
    assert_eq!(slept, Err(Failed::TooCostly(limit)));
    assert_eq!(ask(&pool, "echo next").await.unwrap(), "next");
}
