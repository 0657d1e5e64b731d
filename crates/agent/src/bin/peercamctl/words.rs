//! Times as people say them.

use std::time::Duration;

/// `5 s`, `12 min`, `3 h 5 min`, `9 days`: not more precise than a person would be.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86400),
    }
}

/// `90s`, `30m`, `24h`, `7d`, `2w`.
///
/// # Errors
///
/// In words, for anything else.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as a number and s, m, h, d or w, such as 24h".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        "w" => 7 * 86400,
        _ => return Err(wrong()),
    };
    // Without a sign, which u64's parser would take.
    let number = Some(number).filter(|number| number.bytes().all(|c| c.is_ascii_digit()));
    let number: u64 = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// Seconds after 1970, now.
pub fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let read = |text| parse_duration(text).map(|time| time.as_secs());
        assert_eq!(
            ["90s", "30m", "24h", "7d", "2w"].map(read),
            [90, 1800, 86400, 604_800, 1_209_600].map(Ok)
        );
        for wrong in [
            "",
            "h",
            "24",
            "-1h",
            "+1h",
            "1.5h",
            "1y",
            "99999999999999999999s",
            "9999999999999999999w",
            "1ä",
        ] {
            assert!(read(wrong).unwrap_err().contains("24h"), "{wrong}");
        }
    }

    #[test]
    fn durations_are_rounded_as_people_do() {
        let said = [5, 119, 120, 7199, 7260, 200_000].map(duration);
        assert_eq!(said, ["5 s", "119 s", "2 min", "119 min", "2 h 1 min", "2 days"]);
    }
}
