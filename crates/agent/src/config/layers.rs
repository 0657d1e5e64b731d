//! Several TOML files as one: a later file overrides an earlier one key by key, not table by
//! table, so that a file of one line changes one thing.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Error;

/// One file and what stands in it.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its name, for errors.
    pub file: PathBuf,
    /// TOML.
    pub text: String,
}

/// Which file says what, kept for errors about values.
#[derive(Debug)]
pub struct Layers(Vec<(PathBuf, Table)>);

impl Layers {
    /// Reads each layer by itself, so that an error names its file and line, then all as one.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] for what is no TOML or does not fit `T`.
    pub fn merge<T: DeserializeOwned>(layers: &[Layer]) -> Result<(Self, T), Error> {
        let mut merged = Table::new();
        let mut tables = Vec::new();
        for Layer { file, text } in layers {
            let syntax = |error: toml::de::Error| Error::Syntax {
                file: file.clone(),
                message: error.to_string().trim_end().to_owned(),
            };
            toml::from_str::<T>(text).map_err(syntax)?;
            let table: Table = toml::from_str(text).map_err(syntax)?;
            overlay(&mut merged, &table);
            tables.push((file.clone(), table));
        }
        // Each layer fitted by itself and tables only replace their like, so this can hardly
        // fail; the last file is the one that made the difference.
        let value = T::deserialize(Value::Table(merged)).map_err(|error| Error::Syntax {
            file: tables.last().map(|(file, _)| file.clone()).unwrap_or_default(),
            message: error.to_string(),
        })?;
        Ok((Self(tables), value))
    }

    /// The error for a value that is not allowed: finds file and value under the dotted `key`.
    pub(super) fn refuse(&self, key: &str, allowed: &str) -> Error {
        let value =
            self.find(key).map_or_else(|| "(default)".to_owned(), |(_, value)| shown(value));
        self.refuse_as(key, value, allowed)
    }

    /// The same for a value that is known already.
    pub(super) fn refuse_as(&self, key: &str, value: String, allowed: &str) -> Error {
        let file = self.find(key).map(|(file, _)| file.clone()).unwrap_or_else(|| {
            self.0.last().map(|(file, _)| file.clone()).unwrap_or_else(|| "(defaults)".into())
        });
        Error::Value { file, key: key.to_owned(), value, allowed: allowed.to_owned() }
    }

    /// The last file that sets `key`, and its value there.
    fn find(&self, key: &str) -> Option<(&PathBuf, &Value)> {
        self.0.iter().rev().find_map(|(file, table)| {
            let mut parts = key.split('.');
            let first = table.get(parts.next()?)?;
            let value = parts.try_fold(first, |value, part| value.as_table()?.get(part))?;
            Some((file, value))
        })
    }
}

/// `above` on top of `below`.
fn overlay(below: &mut Table, above: &Table) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            _ => drop(below.insert(key.clone(), value.clone())),
        }
    }
}

/// A value as an error repeats it: not more of it than fits a line.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
