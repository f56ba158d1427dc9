//! Waiting with a limit, so that a test that hangs fails instead.

use std::{fmt::Debug, time::Duration};

use tokio::time::{Instant, sleep, timeout};

/// The limit of [`within`]. Even the slowest machine does not reach it, unless
/// something hangs.
const HANGS: Duration = Duration::from_secs(240);

/// Awaits `awaited`. Panics and names `what` when that takes longer than a test may hang.
pub async fn within<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    within_limit(HANGS, what, awaited).await
}

/// Like [`within`], with a limit of the caller's choice.
pub async fn within_limit<T>(limit: Duration, what: &str, awaited: impl Future<Output = T>) -> T {
    let result = timeout(limit, awaited).await;
    result.unwrap_or_else(|_| panic!("{what}: it did not happen within {limit:?}"))
}

/// Asks `condition` every `pause` until it holds. Returns `false` when `limit` passes first.
pub async fn until(limit: Duration, pause: Duration, condition: impl AsyncFn() -> bool) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if condition().await {
            return true;
        }
        sleep(pause).await;
    }
    false
}

/// Reads a value again and again until it is `expected`. Panics with the last value when
/// `limit` passes first.
pub async fn becomes<T: PartialEq + Debug>(
    limit: Duration,
    expected: T,
    read: impl AsyncFn() -> T,
) {
    let start = Instant::now();
    let mut value = read().await;
    while value != expected {
        assert!(start.elapsed() < limit, "{value:?} is not {expected:?}");
        sleep(Duration::from_millis(10)).await;
        value = read().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn until_returns_whether_the_condition_came_to_hold() {
        let asked = Cell::new(0);
        let third_time = async || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        assert!(until(Duration::from_secs(60), Duration::ZERO, third_time).await);
        assert_eq!(asked.get(), 3);
        assert!(!until(SHORT, Duration::from_millis(1), async || false).await);
    }

    #[tokio::test]
    #[should_panic(expected = "the answer: it did not happen within 20ms")]
    async fn a_wait_that_hangs_panics_and_names_what_was_awaited() {
        within_limit(SHORT, "the answer", std::future::pending::<()>()).await;
    }

    #[tokio::test]
    #[should_panic(expected = "1 is not 2")]
    async fn a_value_that_never_becomes_the_expected_one_panics_with_both() {
        becomes(SHORT, 2, async || 1).await;
    }
}
