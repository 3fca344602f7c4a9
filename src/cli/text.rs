//! Numbers, times and foreign texts for people.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Bytes in the largest fitting binary unit: `618 B`, `20.8 KiB`, `8.5 MiB`.
pub fn bytes(number: u64) -> String {
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        value /= 1024.0;
        unit = next;
        // what would be shown as 1024.0 belongs to the next unit
        if value < 1023.95 {
            break;
        }
    }
    format!("{value:.1} {unit}")
}

/// A number with thousands separated: `8,964,728`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A counted noun: `1 file`, `48 files`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = match noun.strip_suffix('x') {
        _ if number == 1 => noun.to_string(),
        Some(_) => format!("{noun}es"),
        None => format!("{noun}s"),
    };
    format!("{} {plural}", count(number))
}

/// A duration in two units at most: `340 ms`, `1.2 s`, `3 min 10 s`, `2 h 5 min`.
pub fn millis(number: u64) -> String {
    let seconds = number / 1000;
    match seconds {
        0 => format!("{number} ms"),
        1..60 => format!("{:.1} s", (number / 100) as f64 / 10.0),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A time of the API as `2024-01-01 00:00:00`, in UTC.
pub fn utc(rfc3339: &str) -> String {
    OffsetDateTime::parse(rfc3339, &Rfc3339).map_or_else(|_| clean(rfc3339), short)
}

/// A hybrid timestamp with the time that it holds: `470644641416347649 (2026-11-22 17:00:26)`.
pub fn hybrid(timestamp: &str) -> String {
    let millis = timestamp.parse::<i64>().ok().filter(|t| *t > 0).map(|t| t >> 18);
    match millis.map(|ms| OffsetDateTime::from_unix_timestamp(ms / 1000)) {
        Some(Ok(time)) => format!("{timestamp} ({})", short(time)),
        _ => clean(timestamp),
    }
}

fn short(time: OffsetDateTime) -> String {
    let t = time.to_offset(time::UtcOffset::UTC);
    format!(
        "{}-{:02}-{:02} {:02}:{:02}:{:02}",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    )
}

/// Text of others without control characters, which a terminal would obey.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (8_964_728, "8.5 MiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(8_964_728), "8,964,728");
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(2, "index"), "2 indexes");
        assert_eq!(counted(1000, "row"), "1,000 rows");
    }

    #[test]
    fn durations_and_times_are_short() {
        for (number, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1.0 s"),
            (59_999, "59.9 s"),
            (190_000, "3 min 10 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(millis(number), text);
        }
        assert_eq!(utc("2024-01-01T00:00:00.01Z"), "2024-01-01 00:00:00");
        assert_eq!(utc("2024-01-01T01:00:00+02:00"), "2023-12-31 23:00:00");
        assert_eq!(utc("soon"), "soon");
        assert_eq!(hybrid("449555555942400000"), "449555555942400000 (2024-05-05 14:12:30)");
        assert_eq!(hybrid("0"), "0");
    }

    #[test]
    fn a_description_can_not_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
    }
}
