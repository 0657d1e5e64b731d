//! Inheritance: a board's file over its parents'.
//!
//! Tables join key by key; lists add to the parent's (what is there already is not added
//! twice); any other value replaces the parent's. Of several parents, a later one is laid over
//! an earlier one. Each file is checked by itself first, so that an error names the file and
//! line that has it.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::raw::RawBoard;
use super::source::{Place, Sources};
use super::{Error, FILE};

/// A board with all it inherits, as one.
pub(super) struct Merged {
    pub raw: RawBoard,
    /// The folders, the oldest ancestor's first.
    pub lineage: Vec<PathBuf>,
    pub sources: Sources,
}

/// Reads `name` and all its ancestors.
///
/// What is wrong with each of the files, of which there is one error at least.
pub(super) fn load(boards: &Path, name: &str) -> Result<Merged, Vec<Error>> {
    let mut line = Line { boards, layers: Vec::new(), errors: Vec::new() };
    line.collect(name, &mut Vec::new());
    if !line.errors.is_empty() {
        return Err(line.errors);
    }

    let own = path_of(boards, name);
    let mut merged = Table::new();
    let mut lineage = Vec::new();
    let mut sources = Sources::default();
    for Layer { name, path, text, table } in line.layers {
        join(&mut merged, table);
        lineage.push(boards.join(name));
        sources.push(path, text);
    }
    match Value::Table(merged).try_into() {
        Ok(raw) => Ok(Merged { raw, lineage, sources }),
        Err(error) => Err(vec![syntax(Place::file(&own), &error)]),
    }
}

/// What is wrong with a file by itself: its syntax, its keys.
pub(super) fn check_file(path: &Path) -> Result<(), Error> {
    read(path).map(drop)
}

struct Layer {
    name: String,
    path: PathBuf,
    text: String,
    table: Table,
}

struct Line<'a> {
    boards: &'a Path,
    /// Parents before their children, each once.
    layers: Vec<Layer>,
    errors: Vec<Error>,
}

impl Line<'_> {
    /// Adds `name` after its parents; `chain` is the way that led to it.
    fn collect(&mut self, name: &str, chain: &mut Vec<String>) {
        if self.layers.iter().any(|layer| layer.name == name) {
            return;
        }
        let path = path_of(self.boards, name);
        let (text, mut table, parents) = match read(&path) {
            Ok(read) => read,
            Err(error) => return self.errors.push(error),
        };
        table.remove("inherits");
        chain.push(name.to_owned());
        for parent in &parents {
            let place = || {
                let mut own = Sources::default();
                own.push(path.clone(), text.clone());
                own.place(&["inherits"])
            };
            if chain.contains(parent) {
                let chain = chain.iter().chain([parent]).cloned().collect();
                self.errors.push(Error::Circle { place: place(), chain });
            } else if !path_of(self.boards, parent).is_file() {
                let message = format!(
                    "`inherits`: there is no board {parent:?}, nor a shared file {parent}.toml"
                );
                self.errors.push(Error::Invalid { place: place(), message });
            } else {
                self.collect(parent, chain);
            }
        }
        chain.pop();
        self.layers.push(Layer { name: name.to_owned(), path, text, table });
    }
}

/// What several boards share is `board/<name>.toml`; a board is `board/<name>/board.toml`.
/// Either may have more in the folder `board/<name>/`.
pub(super) fn path_of(boards: &Path, name: &str) -> PathBuf {
    let shared = boards.join(format!("{name}.toml"));
    if shared.is_file() { shared } else { boards.join(name).join(FILE) }
}

/// One file, checked against the keys that there are, and its parents.
fn read(path: &Path) -> Result<(String, Table, Vec<String>), Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let failed = |error: toml::de::Error| syntax(Place::of(path, &text, &error), &error);
    let raw: RawBoard = toml::from_str(&text).map_err(failed)?;
    let table: Table = toml::from_str(&text).map_err(failed)?;
    Ok((text, table, raw.inherits))
}

fn syntax(place: Place, error: &toml::de::Error) -> Error {
    Error::Syntax { place, message: error.message().lines().collect::<Vec<_>>().join("; ") }
}

fn join(parent: &mut Table, child: Table) {
    for (key, value) in child {
        match (parent.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => join(old, new),
            (Some(Value::Array(old)), Value::Array(new)) => {
                for item in new {
                    if !old.contains(&item) {
                        old.push(item);
                    }
                }
            }
            (_, value) => {
                parent.insert(key, value);
            }
        }
    }
}
