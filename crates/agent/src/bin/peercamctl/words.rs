//! Times as people say them.

/// `5 s`, `12 min`, `3 h 5 min`, `9 days`: not more precise than a person would be.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86400),
    }
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
    fn durations_are_rounded_as_people_do() {
        let said = [5, 119, 120, 7199, 7260, 200_000].map(duration);
        assert_eq!(said, ["5 s", "119 s", "2 min", "119 min", "2 h 1 min", "2 days"]);
    }
}
