//! The files that a board is made of, and where in them a key stands.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// A place in a file, as errors name it: `board/camera/board.toml:5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1; none when the whole file is meant.
    pub line: Option<usize>,
}

impl Place {
    /// The file as a whole.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self { path: path.to_owned(), line: None }
    }

    /// The line of `text` that holds the byte `offset`.
    pub(super) fn at(path: &Path, text: &str, offset: usize) -> Self {
        let before = text.as_bytes().iter().take(offset);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        Self { path: path.to_owned(), line: Some(line) }
    }

    /// Where a parser stumbled over `text`.
    pub(super) fn of(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        match error.span() {
            Some(span) => Self::at(path, text, span.start),
            None => Self::file(path),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// A board's own file and those it inherits, the oldest ancestor first.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<(PathBuf, String)>);

impl Sources {
    pub fn push(&mut self, path: PathBuf, text: String) {
        self.0.push((path, text));
    }

    /// The line that decides on a key, or on one word of a list: that of the nearest file which
    /// has it. The board's own file as a whole when none has.
    pub fn place(&self, key: &[&str]) -> Place {
        let line = |(path, text): &(PathBuf, String)| {
            let table = DeTable::parse(text).ok()?;
            let span = find(table.get_ref(), key)?;
            Some(Place::at(path, text, span.start))
        };
        let own = || Place::file(self.0.last().map_or(Path::new(""), |(path, _)| path));
        self.0.iter().rev().find_map(line).unwrap_or_else(own)
    }
}

fn find(table: &DeTable<'_>, key: &[&str]) -> Option<Range<usize>> {
    let (first, rest) = key.split_first()?;
    let (name, value) = table.iter().find(|(name, _)| name.get_ref() == first)?;
    match (rest, value.get_ref()) {
        ([], _) => Some(name.span()),
        (rest, DeValue::Table(inner)) => find(inner, rest),
        ([word], DeValue::Array(list)) => {
            list.iter().find(|item| item.get_ref().as_str() == Some(word)).map(|item| item.span())
        }
        _ => None,
    }
}
