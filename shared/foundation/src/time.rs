//! Time as it is written into messages, records and headers.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, by this machine's clock. A clock that is set
/// before 1970 gives 0.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_milliseconds() {
        let (year_2020, year_2200) = (1_577_836_800_000, 7_258_118_400_000);
        assert!((year_2020..year_2200).contains(&unix_millis()));
    }
}
