//! The parts of Python that chat templates call and the template engine does not have.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::value::Kwargs;
use minijinja::{Error, Value};

/// `json.dumps(value, ensure_ascii=False)`: the template engine's own filter, without the escapes
/// that protect HTML.
pub(crate) fn to_json(value: &Value, indent: Option<Value>, kwargs: Kwargs) -> Result<String, Error> {
    // Options of Python's that say how to write, not what.
    for option in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<Value> = kwargs.get(option)?;
    }
    let json = minijinja::filters::tojson(value, indent, kwargs)?;
    Ok(without_html_escapes(&json.to_string()))
}

fn without_html_escapes(json: &str) -> String {
    let mut output = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        output.push_str(&rest[..at]);
        rest = &rest[at..];
        // Each escape is taken as a whole, so that the second backslash of `\\\\` begins none.
        let (plain, len) = match rest.get(..6) {
            Some("\\u003c") => ("<", 6),
            Some("\\u003e") => (">", 6),
            Some("\\u0026") => ("&", 6),
            Some("\\u0027") => ("'", 6),
            _ => (&rest[..rest.len().min(2)], 2),
        };
        output.push_str(plain);
        rest = rest.get(len..).unwrap_or_default();
    }
    output + rest
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// `datetime.now().strftime(format)` in English and in UTC, so that a prompt does not tell where
/// the machine is. A directive that is not known stays as it is written.
pub(crate) fn strftime(format: &str, now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let hour12 = (hour + 11) % 12 + 1;
    let date = Date::from_days(days);
    let month = MONTHS[date.month as usize - 1];
    let weekday = WEEKDAYS[((days + 4) % 7) as usize];

    let mut output = String::new();
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            output.push(char);
            continue;
        }
        let mut directive = chars.next();
        let padded = directive != Some('-');
        if !padded {
            directive = chars.next();
        }
        let two = |number: u64| match padded {
            true => format!("{number:02}"),
            false => number.to_string(),
        };
        let Some(directive) = directive else {
            output.push('%');
            break;
        };
        output += &match directive {
            'Y' => date.year.to_string(),
            'y' => two(date.year % 100),
            'm' => two(date.month),
            'd' => two(date.day),
            'e' => format!("{:2}", date.day),
            'B' => month.to_owned(),
            'b' | 'h' => month[..3].to_owned(),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'H' => two(hour),
            'I' => two(hour12),
            'M' => two(minute),
            'S' => two(second),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'F' => format!("{}-{:02}-{:02}", date.year, date.month, date.day),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'Z' => "UTC".to_owned(),
            'z' => "+0000".to_owned(),
            '%' => "%".to_owned(),
            other => format!("%{other}"),
        };
    }
    output
}

struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    /// `days` since 1970-01-01. Counts in years that begin in March, so that the leap day is the
    /// last of its year.
    fn from_days(days: u64) -> Self {
        let days = days + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12 + 1;
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self { year, month, day }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(seconds: u64, format: &str, expected: &str) {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(strftime(format, now), expected);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        check(0, "%Y-%m-%d %A", "1970-01-01 Thursday");
        check(951_782_400, "%d %b %Y", "29 Feb 2000");
        check(951_868_800, "%d %b %Y", "01 Mar 2000");
        check(1_735_689_599, "%F %T %a", "2024-12-31 23:59:59 Tue");
        check(4_107_542_400, "%B %-d, %Y", "March 1, 2100");
    }

    #[test]
    fn times_have_both_clocks() {
        check(0, "%H:%M:%S %I %p", "00:00:00 12 AM");
        check(13 * 3600 + 61, "%H:%M:%S %-I %p", "13:01:01 1 PM");
    }

    #[test]
    fn what_is_not_a_directive_stays() {
        check(0, "100%% %Q %", "100% %Q %");
    }
}
