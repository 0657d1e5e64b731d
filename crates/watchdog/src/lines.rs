//! From what a service prints to lines for the log: whole, bounded, harmless on any screen, and
//! not too many. No I/O, no clock.

use std::time::{Duration, Instant};

/// Longest line, in bytes as the service wrote them; a longer one becomes several.
pub const MAX_LINE: usize = 1024;
/// Lines are counted for so long, and what was left out is told after it.
pub const WINDOW: Duration = Duration::from_secs(10);
/// What is remembered for the last words, in bytes.
const MEMORY: usize = 1024;
/// Most lines of last words.
pub const LAST_LINES: usize = 8;

/// What comes of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// It printed this.
    Said(&'a str),
    /// It printed so many more in the last [`WINDOW`].
    LeftOut(u64),
}

/// The output of a service.
#[derive(Debug)]
pub struct Lines {
    /// Most lines in a [`WINDOW`].
    limit: u32,
    /// Of a line that has not ended.
    begun: Vec<u8>,
    /// When the window began, if there is one.
    since: Option<Instant>,
    said: u32,
    left_out: u64,
    /// The last it printed, said or not.
    memory: Vec<u8>,
    /// The harmless form of a line, again and again.
    text: String,
}

impl Lines {
    /// At most `limit` lines are said in each [`WINDOW`].
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            begun: Vec::new(),
            since: None,
            said: 0,
            left_out: 0,
            memory: Vec::new(),
            text: String::new(),
        }
    }

    /// It printed `bytes`, in whatever pieces.
    pub fn take(&mut self, now: Instant, bytes: &[u8], mut say: impl FnMut(Line<'_>)) {
        self.tick(now, &mut say);
        self.remember(bytes);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (mut piece, ends) = match piece.split_last() {
                Some((b'\n', piece)) => (piece, true),
                _ => (piece, false),
            };
            while self.begun.len() + piece.len() > MAX_LINE {
                let (head, rest) = piece.split_at(MAX_LINE - self.begun.len());
                self.begun.extend_from_slice(head);
                piece = rest;
                self.say(now, &mut say);
            }
            self.begun.extend_from_slice(piece);
            if ends {
                self.say(now, &mut say);
            }
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, mut say: impl FnMut(Line<'_>)) {
        if self.since.is_some_and(|since| now >= since + WINDOW) {
            self.since = None;
            self.tell_left_out(&mut say);
        }
    }

    /// When the next [`Lines::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.filter(|_| self.left_out > 0).map(|since| since + WINDOW)
    }

    /// Whether it prints more than is said.
    pub fn is_flooding(&self) -> bool {
        self.left_out > 0
    }

    /// It has ended: says what is left to be said, and its last words however many came before.
    pub fn end(&mut self, now: Instant, mut say: impl FnMut(Line<'_>)) {
        self.say(now, &mut say);
        if self.tell_left_out(&mut say) {
            self.last_words().iter().for_each(|line| say(Line::Said(line)));
        }
    }

    /// Another process begins to print.
    pub fn begin(&mut self) {
        self.begun.clear();
        self.memory.clear();
    }

    /// The last lines that it printed, the last one last: at most [`LAST_LINES`], and about a
    /// kilobyte.
    pub fn last_words(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in self.memory.rsplit(|byte| *byte == b'\n') {
            let mut text = String::new();
            make_harmless(line, &mut text);
            if !text.is_empty() && lines.len() < LAST_LINES {
                lines.push(text);
            }
        }
        lines.reverse();
        lines
    }

    /// What has begun is a line.
    fn say(&mut self, now: Instant, mut say: impl FnMut(Line<'_>)) {
        if self.begun.is_empty() {
            return;
        }
        if self.since.is_none() {
            (self.since, self.said) = (Some(now), 0);
        }
        if self.said >= self.limit {
            self.left_out += 1;
        } else {
            self.text.clear();
            make_harmless(&self.begun, &mut self.text);
            if !self.text.is_empty() {
                self.said += 1;
                say(Line::Said(&self.text));
            }
        }
        self.begun.clear();
    }

    fn tell_left_out(&mut self, mut say: impl FnMut(Line<'_>)) -> bool {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            say(Line::LeftOut(left_out));
        }
        left_out > 0
    }

    fn remember(&mut self, bytes: &[u8]) {
        let newest = &bytes[bytes.len().saturating_sub(MEMORY)..];
        let excess = (self.memory.len() + newest.len()).saturating_sub(MEMORY);
        self.memory.drain(..excess.min(self.memory.len()));
        self.memory.extend_from_slice(newest);
    }
}

/// Appends what can be shown to anybody: UTF-8 without control characters, those that turn the
/// writing around among them.
pub fn make_harmless(bytes: &[u8], text: &mut String) {
    for chunk in bytes.trim_ascii_end().utf8_chunks() {
        text.extend(chunk.valid().chars().map(|character| match character {
            '\t' => ' ',
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            control if control.is_control() => '\u{fffd}',
            other => other,
        }));
        if !chunk.invalid().is_empty() {
            text.push('\u{fffd}');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is said of `pieces`, which come a second apart.
    fn said(limit: u32, pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, begin) = (Lines::new(limit), Instant::now());
        let mut said = Vec::new();
        let mut say = |line: Line<'_>| {
            said.push(match line {
                Line::Said(text) => text.to_owned(),
                Line::LeftOut(count) => format!("-- {count}"),
            });
        };
        for (second, piece) in (0..).zip(pieces) {
            lines.take(begin + Duration::from_secs(second), piece, &mut say);
        }
        lines.end(begin + Duration::from_secs(1000), &mut say);
        said
    }

    #[test]
    fn lines_are_whole_in_whatever_pieces_they_come() {
        assert_eq!(said(9, &[b"one\ntw", b"o\r\n\n", b"", b"three"]), ["one", "two", "three"]);
    }

    #[test]
    fn what_would_move_a_screen_is_shown_as_such() {
        let text = "a\u{1b}[2Jb\tc\0d\u{85}e\u{202e}f".as_bytes();
        assert_eq!(said(9, &[text]), ["a\u{fffd}[2Jb c\u{fffd}d\u{fffd}e\u{fffd}f"]);
        assert_eq!(
            said(9, &[b"\xff\xfeok\xc3\n\xc3", b"\xbc"]),
            ["\u{fffd}\u{fffd}ok\u{fffd}", "ü"]
        );
    }

    #[test]
    fn a_line_without_an_end_becomes_several() {
        let long = [b'x'; 2 * MAX_LINE];
        let lines = said(9, &[&long, b"\nend"]);
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE, 3]);
        let whole = said(9, &[&long[..MAX_LINE], b"\nend"]);
        assert_eq!(whole.len(), 2);
    }

    #[test]
    fn of_too_many_lines_the_last_ones_are_said_and_how_many_there_were() {
        let many: Vec<u8> = (0..1000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let said = said(2, &[&many]);
        let wanted = ["line 0", "line 1", "-- 998", "line 992"];
        assert_eq!(said[..4], wanted);
        assert_eq!(said.last().unwrap(), "line 999");
        assert_eq!(said.len(), 3 + LAST_LINES);
    }

    #[test]
    fn a_new_window_has_its_own_lines() {
        let begin = Instant::now();
        let mut lines = Lines::new(1);
        lines.take(begin, b"one\ntwo\n", |_| ());
        assert!(lines.is_flooding());
        assert_eq!(lines.deadline(), Some(begin + WINDOW));
        let mut said = Vec::new();
        lines.tick(begin + WINDOW, |line| said.push(format!("{line:?}")));
        lines.take(begin + WINDOW, b"three\n", |line| said.push(format!("{line:?}")));
        assert_eq!(said, ["LeftOut(1)", "Said(\"three\")"]);
        assert_eq!(lines.deadline(), None);
    }

    proptest! {
        #[test]
        fn how_output_is_cut_into_pieces_changes_nothing(
            output in proptest::collection::vec(
                prop_oneof![3 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'x')], 0..5000),
            size in 1..700usize,
        ) {
            let pieces: Vec<&[u8]> = output.chunks(size).collect();
            let lines = said(u32::MAX, &pieces);
            prop_assert_eq!(&lines, &said(u32::MAX, &[&output]));
            for line in &lines {
                // U+FFFD, three bytes, is what a byte becomes at most.
                prop_assert!(!line.is_empty() && line.len() <= 3 * MAX_LINE);
                prop_assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_holds_the_newest() {
        let mut lines = Lines::new(0);
        for number in 0..10_000 {
            lines.take(Instant::now(), format!("{number}\n").as_bytes(), |_| ());
        }
        assert!(lines.memory.len() <= MEMORY);
        assert_eq!(lines.last_words().last().unwrap(), "9999");
        lines.take(Instant::now(), &[b'y'; 5 * MEMORY], |_| ());
        assert_eq!(lines.last_words(), ["y".repeat(MEMORY)]);
        lines.begin();
        assert!(lines.last_words().is_empty());
    }
}
