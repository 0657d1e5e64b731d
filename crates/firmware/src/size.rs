//! [`Size`]: a number of bytes, written the way people write it (`20 MB`, `64 MiB`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes. Reads `20 MB` (10^6) and `64 MiB` (2^20) alike, and exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl Size {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many MiB (2^20 bytes).
    #[must_use]
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A size that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write a whole number and a unit, such as \"20 MB\" or \"64 MiB\"")]
pub struct ParseSizeError(String);

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseSizeError(text.to_owned());
        let (unit, factor) =
            UNITS.iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(error)?;
        let number = text.trim_end_matches(unit).trim_end();
        let count: u64 = number.parse().map_err(|_| error())?;
        count.checked_mul(*factor).map(Self).ok_or_else(error)
    }
}

impl TryFrom<String> for Size {
    type Error = ParseSizeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        let (unit, factor) = UNITS
            .into_iter()
            .find(|(_, factor)| size.0 >= *factor && size.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        format!("{} {unit}", size.0 / factor)
    }
}

/// For people: decimal megabytes or kilobytes, one digit.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "one digit is printed")]
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} B", self.0),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            _ => write!(f, "{:.1} MB", bytes / 1e6),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_with_its_unit() {
        assert_eq!("20 MB".parse(), Ok(Size::bytes(20_000_000)));
        assert_eq!("64 MiB".parse(), Ok(Size::mebibytes(64)));
        assert_eq!("7B".parse(), Ok(Size::bytes(7)));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for size in
            [Size::bytes(0), Size::bytes(1_234), Size::mebibytes(64), Size::bytes(20_000_000)]
        {
            assert_eq!(String::from(size).parse(), Ok(size));
        }
    }

    #[test]
    fn a_size_without_unit_or_beyond_64_bits_is_refused_with_the_way_out() {
        for bad in ["20", "MB", "-1 MB", "1.5 MB", "99999999999999 GiB", ""] {
            let error = bad.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("20 MB"), "{error}");
        }
    }
}
