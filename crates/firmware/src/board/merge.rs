//! Inheritance: a board's file over its parent's.
//!
//! Tables join key by key; lists add to the parent's (what is there already is not added
//! twice); any other value replaces the parent's. Each file is checked by itself first, so
//! that an error names the file that has it.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Error;
use super::raw::RawBoard;

/// Reads `name` and all its ancestors; returns them as one, and the folders, oldest first.
pub(super) fn load(boards: &Path, name: &str) -> Result<(RawBoard, Vec<PathBuf>), Error> {
    let mut chain = vec![name.to_owned()];
    let mut layers = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(current) = next {
        let path = path_of(boards, &current);
        let (table, inherits) = read(&path)?;
        layers.push((boards.join(&current), table));
        if let Some(parent) = &inherits {
            let circle = chain.contains(parent);
            chain.push(parent.clone());
            if circle {
                return Err(Error::Circle { path, chain });
            }
            if !path_of(boards, parent).is_file() {
                return Err(Error::Invalid {
                    path,
                    message: format!("`inherits`: there is no board {parent:?}"),
                });
            }
        }
        next = inherits;
    }

    let own = path_of(boards, name);
    let mut merged = Table::new();
    let mut lineage = Vec::new();
    for (folder, table) in layers.into_iter().rev() {
        join(&mut merged, table);
        lineage.push(folder);
    }
    let merged = Value::Table(merged)
        .try_into()
        .map_err(|source| Error::Syntax { path: own, source: Box::new(source) })?;
    Ok((merged, lineage))
}

/// What several boards share is `board/<name>.toml`; a board is `board/<name>/board.toml`.
/// Either may have more in the folder `board/<name>/`.
fn path_of(boards: &Path, name: &str) -> PathBuf {
    let shared = boards.join(format!("{name}.toml"));
    if shared.is_file() { shared } else { boards.join(name).join("board.toml") }
}

/// One file, checked against the keys that there are.
fn read(path: &Path) -> Result<(Table, Option<String>), Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let syntax = |source| Error::Syntax { path: path.to_owned(), source: Box::new(source) };
    let raw: RawBoard = toml::from_str(&text).map_err(syntax)?;
    let table: Table = toml::from_str(&text).map_err(syntax)?;
    Ok((table, raw.inherits))
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
