//! Figures the way people read them.

pub(crate) use rbee_narration::{bytes, bytes_of, count};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A large number, e.g. `135M` or `1.7B`.
pub(crate) fn quantity(quantity: u64) -> String {
    match quantity as f64 {
        n if n >= 99.5e9 => format!("{:.0}B", n / 1e9),
        n if n >= 999.5e6 => format!("{:.1}B", n / 1e9),
        n if n >= 999.5e3 => format!("{:.0}M", n / 1e6),
        n if n >= 1e3 => format!("{:.0}K", n / 1e3),
        n => format!("{n}"),
    }
}

/// A duration in the largest unit it fills, e.g. `3 min`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        _ if ms < 1000 => format!("{ms} ms"),
        _ if ms < MINUTE_MS => format!("{} s", ms / 1000),
        _ if ms < HOUR_MS => format!("{} min", ms / MINUTE_MS),
        _ if ms < 2 * DAY_MS => format!("{} h", ms / HOUR_MS),
        _ => format!("{} days", ms / DAY_MS),
    }
}

/// How long before `now_ms` something was, e.g. `3 min ago`.
pub(crate) fn ago(now_ms: u64, at_ms: u64) -> String {
    match now_ms.saturating_sub(at_ms) {
        ms if ms < 1000 => "just now".to_owned(),
        ms => format!("{} ago", duration(ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_two_or_three_digits() {
        let cases = [
            (7, "7"),
            (134_515_008, "135M"),
            (999_600_000, "1.0B"),
            (1_711_376_384, "1.7B"),
            (116_829_156_672, "117B"),
        ];
        for (number, expected) in cases {
            assert_eq!(quantity(number), expected);
        }
    }

    #[test]
    fn times_are_relative() {
        let cases = [
            (0, "just now"),
            (999, "just now"),
            (59_999, "59 s ago"),
            (3 * MINUTE_MS, "3 min ago"),
            (HOUR_MS, "1 h ago"),
            (47 * HOUR_MS, "47 h ago"),
            (5 * DAY_MS, "5 days ago"),
        ];
        for (passed, expected) in cases {
            assert_eq!(ago(1_000_000_000_000, 1_000_000_000_000 - passed), expected);
        }
        assert_eq!(ago(1, 5), "just now", "clocks may differ");
    }

    #[test]
    fn durations_are_in_the_largest_unit_that_they_fill() {
        let cases = [(7, "7 ms"), (1999, "1 s"), (61 * MINUTE_MS, "1 h")];
        for (ms, expected) in cases {
            assert_eq!(duration(ms), expected);
        }
    }

    #[test]
    fn one_thing_is_singular() {
        assert_eq!([count(0, "job"), count(1, "job"), count(2, "job")], ["0 jobs", "1 job", "2 jobs"]);
    }
}
