//! The order of Debian's versions (Debian Policy, 5.6.12).

use std::cmp::Ordering;

/// Which of two versions is older.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((a_epoch, a), (b_epoch, b)) = (epoch(a), epoch(b));
    let ((a, a_revision), (b, b_revision)) = (revision(a), revision(b));
    a_epoch
        .cmp(&b_epoch)
        .then_with(|| compare_part(a, b))
        .then_with(|| compare_part(a_revision, b_revision))
}

fn epoch(version: &str) -> (u64, &str) {
    let parts = version.split_once(':');
    parts.map_or((0, version), |(epoch, rest)| (epoch.parse().unwrap_or(0), rest))
}

fn revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// Words and numbers in turn, a word first, until they differ.
fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (a_word, a_rest) = split(a, |c| !c.is_ascii_digit());
        let (b_word, b_rest) = split(b, |c| !c.is_ascii_digit());
        let (a_number, a_rest) = split(a_rest, |c| c.is_ascii_digit());
        let (b_number, b_rest) = split(b_rest, |c| c.is_ascii_digit());
        let order = compare_words(a_word, b_word).then_with(|| compare_numbers(a_number, b_number));
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// A tilde is before the end, the end before letters, letters before all else.
fn compare_words(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| match byte {
        b'~' => (0, byte),
        byte if byte.is_ascii_alphabetic() => (2, byte),
        byte => (3, byte),
    };
    let ranks = |word: &str| word.bytes().map(rank).chain([(1, 0)]).collect::<Vec<_>>();
    ranks(a).cmp(&ranks(b))
}

/// Of any length: dates and hashes are numbers too.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_debians_order() {
        let versions = [
            "1.0~rc1-1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+b2",
            "1.0-1+b10",
            "1.0-1.1",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.2-1~deb13u1",
            "1.2-1",
            "1.10-1",
            "20250101000000000000001-1",
            "1:0.5",
        ];
        for (index, older) in versions.iter().enumerate() {
            assert_eq!(compare(older, older), Ordering::Equal, "{older}");
            for newer in &versions[index + 1..] {
                assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
                assert_eq!(compare(newer, older), Ordering::Greater, "{newer} {older}");
            }
        }
        assert_eq!(compare("1.01-1", "1.1-1"), Ordering::Equal);
    }
}
