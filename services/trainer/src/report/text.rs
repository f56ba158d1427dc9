//! Numbers and ids, written for people.

/// A percentage. No line breaks at the space before its sign.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", share * 100.0)
}

/// Two percentages between which something lies.
pub(super) fn range([low, high]: [f64; 2]) -> String {
    format!("{} – {}", percent(low), percent(high))
}

pub(super) fn share(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), percent)
}

pub(super) fn beginning(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A number with commas between the thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub(super) fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(2_226_434), "2,226,434");
        assert_eq!(grouped(100), "100");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(duration(3.06), "3.1 s");
        assert_eq!(duration(59.6), "1 min 0 s");
        assert_eq!(duration(7384.0), "2 h 3 min");
        assert_eq!(percent(0.967), "96.7\u{a0}%");
        assert_eq!(range([0.9, 1.0]), "90.0\u{a0}% – 100.0\u{a0}%");
    }
}
