//! Figures the way people read them, the same wherever one is told.

/// A size with one decimal, e.g. `15.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    let (size, unit) = scaled(bytes);
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

/// A part of a size, e.g. `1.5 of 15.5 GiB`.
pub fn bytes_of(part: u64, whole: u64) -> String {
    let ((size, unit), (_, of_unit)) = (scaled(part), scaled(whole));
    let part = if unit == of_unit && unit != "B" { format!("{size:.1}") } else { bytes(part) };
    format!("{part} of {}", bytes(whole))
}

/// A size in the unit that suits it.
fn scaled(bytes: u64) -> (f64, &'static str) {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    // What would be rounded up to 1024.0 is one of the next unit; there are no parts of a byte.
    while unit + 1 < UNITS.len() && size >= if unit == 0 { 1024.0 } else { 1023.95 } {
        size /= 1024.0;
        unit += 1;
    }
    (size, UNITS[unit])
}

/// `count` things, e.g. `1 job` or `3 jobs`.
pub fn count(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (400 << 20, "400.0 MiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (16_642_998_272, "15.5 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ];
        for (size, expected) in cases {
            assert_eq!(bytes(size), expected);
        }
    }

    #[test]
    fn a_part_has_its_unit_where_that_is_another() {
        assert_eq!(bytes_of(3 << 19, 31 << 19), "1.5 of 15.5 MiB");
        assert_eq!(bytes_of(3 << 9, 31 << 19), "1.5 KiB of 15.5 MiB");
        assert_eq!(bytes_of(5, 10), "5 B of 10 B");
    }

    #[test]
    fn one_has_no_s() {
        assert_eq!([0, 1, 2].map(|files| count(files, "file")), ["0 files", "1 file", "2 files"]);
    }
}
