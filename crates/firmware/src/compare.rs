//! What became larger and what smaller between two images.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use crate::manifest::Manifest;
use crate::size::Size;

/// Two images, side by side. Serialized, it is what `sizes --compare A B --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// All parts together, as shipped.
    pub total: Change,
    /// The parts as shipped, the largest change first.
    pub parts: Vec<Change>,
    /// The packages in all parts, unpacked, the largest change first; `peercam` is what is
    /// built here. Those of the same size in both are left out.
    pub packages: Vec<Change>,
    /// The same for files; a kernel module of another release is another file.
    pub files: Vec<Change>,
}

/// The size of one thing in both images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is.
    pub name: String,
    /// Bytes in the first image; none where it has no such thing.
    pub before: Option<u64>,
    /// Bytes in the second image; none where it has no such thing.
    pub after: Option<u64>,
}

impl Change {
    /// By how many bytes it became larger; below 0 where it became smaller.
    #[must_use]
    pub fn growth(&self) -> i128 {
        i128::from(self.after.unwrap_or(0)) - i128::from(self.before.unwrap_or(0))
    }
}

impl Comparison {
    /// Compares two manifests.
    #[must_use]
    pub fn new(before: &Manifest, after: &Manifest) -> Self {
        let both =
            |sizes: fn(&Manifest) -> BTreeMap<String, u64>| changes(&sizes(before), &sizes(after));
        let total = |manifest: &Manifest| Some(manifest.parts.iter().map(|part| part.bytes).sum());
        let mut comparison = Self {
            total: Change { name: "total".into(), before: total(before), after: total(after) },
            parts: both(parts),
            packages: both(packages),
            files: both(files),
        };
        for list in [&mut comparison.packages, &mut comparison.files] {
            list.retain(|change| change.before != change.after);
        }
        comparison
    }

    /// For people: parts and packages; the files are in the JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        line(&mut text, "shipped", ["before", "after", "growth"].map(str::to_owned));
        for change in self.parts.iter().chain([&self.total]) {
            row(&mut text, change);
        }
        if self.packages.is_empty() {
            text.push_str("no package's files changed in size\n");
        } else {
            line(&mut text, "unpacked", ["before", "after", "growth"].map(str::to_owned));
        }
        for change in &self.packages {
            row(&mut text, change);
        }
        text
    }
}

fn row(text: &mut String, change: &Change) {
    let size = |bytes: Option<u64>| {
        bytes.map_or_else(|| "–".to_owned(), |bytes| Size::bytes(bytes).to_string())
    };
    let growth = change.growth();
    let sign = if growth < 0 { '-' } else { '+' };
    let amount = Size::bytes(u64::try_from(growth.unsigned_abs()).unwrap_or(u64::MAX));
    let growth = if growth == 0 { "=".to_owned() } else { format!("{sign}{amount}") };
    line(text, &change.name, [size(change.before), size(change.after), growth]);
}

fn line(text: &mut String, name: &str, [before, after, growth]: [String; 3]) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "{name:<44} {before:>10} {after:>10} {growth:>10}");
}

/// What is in either, the largest change first.
fn changes(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| Change {
        name: name.clone(),
        before: before.get(name).copied(),
        after: after.get(name).copied(),
    };
    let mut changes: Vec<Change> = names.into_iter().map(change).collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.growth().unsigned_abs()));
    changes
}

fn parts(manifest: &Manifest) -> BTreeMap<String, u64> {
    manifest.parts.iter().map(|part| (part.name.clone(), part.bytes)).collect()
}

fn packages(manifest: &Manifest) -> BTreeMap<String, u64> {
    let mut packages = BTreeMap::new();
    for file in manifest.parts.iter().flat_map(|part| &part.files) {
        *packages.entry(file.package.clone()).or_insert(0) += file.bytes;
    }
    packages
}

fn files(manifest: &Manifest) -> BTreeMap<String, u64> {
    let mut files = BTreeMap::new();
    for part in &manifest.parts {
        files.extend(
            part.files.iter().map(|file| (format!("{}:{}", part.name, file.path), file.bytes)),
        );
    }
    files
}
