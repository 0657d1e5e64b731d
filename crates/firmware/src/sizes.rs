//! What weighs how much in an image, largest first, and whether that is within the board's
//! budget.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::board::Budgets;
use crate::manifest::Manifest;
use crate::size::Size;

/// The program that is resident for ever, and has a budget of its own.
pub const WATCHDOG: &str = "peercam-watchdog";

/// The report. Serialized, it is what `sizes --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The board's name.
    pub board: String,
    /// The parts, largest first.
    pub parts: Vec<Part>,
    /// All parts together, as shipped.
    pub total: u64,
    /// The budgets, and what each is used for.
    pub budgets: Vec<Budget>,
}

/// A part of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `kernel`, `initramfs`, `root`.
    pub name: String,
    /// Bytes as shipped (compressed).
    pub shipped: u64,
    /// Bytes of its files, uncompressed.
    pub unpacked: u64,
    /// The packages in it, largest first.
    pub packages: Vec<Package>,
}

/// A package's share of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Its name; `peercam` is what is built here.
    pub name: String,
    /// Bytes of its files, uncompressed.
    pub unpacked: u64,
    /// How many files.
    pub files: usize,
    /// Its largest file.
    pub largest: String,
}

/// A limit, and what is used of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// `root`, `total` or `watchdog`.
    pub name: &'static str,
    /// Bytes allowed.
    pub limit: u64,
    /// Bytes used.
    pub used: u64,
    /// Bytes above the limit; 0 when it is kept.
    pub over: u64,
}

impl Report {
    /// Adds up a manifest.
    #[must_use]
    pub fn new(manifest: &Manifest, budgets: Budgets) -> Self {
        let mut parts: Vec<Part> = manifest
            .parts
            .iter()
            .map(|part| {
                let packages = by_package(&part.files);
                let unpacked = packages.iter().map(|package| package.unpacked).sum();
                Part { name: part.name.clone(), shipped: part.bytes, unpacked, packages }
            })
            .collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.shipped));
        let total = parts.iter().map(|part| part.shipped).sum();
        let root = parts.iter().filter(|part| part.name == "root").map(|part| part.shipped).sum();
        let budget = |name, limit: Size, used: u64| Budget {
            name,
            limit: limit.get(),
            used,
            over: used.saturating_sub(limit.get()),
        };
        let files = manifest.parts.iter().flat_map(|part| &part.files);
        let watchdog = files.filter(|file| file.path.rsplit('/').next() == Some(WATCHDOG));
        let watchdog = watchdog.map(|file| file.bytes).sum();
        let budgets = vec![
            budget("root", budgets.root, root),
            budget("total", budgets.total, total),
            budget("watchdog", budgets.watchdog, watchdog),
        ];
        Self { board: manifest.board.clone(), parts, total, budgets }
    }

    /// A sentence for each budget that is exceeded.
    #[must_use]
    pub fn exceeded(&self) -> Vec<String> {
        let over = self.budgets.iter().filter(|budget| budget.over > 0);
        over.map(|budget| {
            let [used, limit, over] = [budget.used, budget.limit, budget.over].map(Size::bytes);
            format!(
                "`budgets.{}` of {} is exceeded: {used}, {over} ({} bytes) over its {limit}",
                budget.name, self.board, budget.over
            )
        })
        .collect()
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = writeln!(text, "{:<44} {:>10} {:>10}", self.board, "shipped", "unpacked");
        for part in &self.parts {
            let [shipped, unpacked] =
                [part.shipped, part.unpacked].map(|b| Size::bytes(b).to_string());
            let _ = writeln!(text, "{:<44} {shipped:>10} {unpacked:>10}", part.name);
            for package in &part.packages {
                let unpacked = Size::bytes(package.unpacked).to_string();
                let _ = writeln!(
                    text,
                    "  {:<53} {unpacked:>10}  {} files, largest {}",
                    package.name, package.files, package.largest
                );
            }
        }
        for budget in &self.budgets {
            let [used, limit] = [budget.used, budget.limit].map(Size::bytes);
            let verdict = if budget.over > 0 { "EXCEEDED" } else { "kept" };
            let _ = writeln!(text, "budget {}: {used} of {limit}: {verdict}", budget.name);
        }
        text
    }
}

fn by_package(files: &[crate::manifest::File]) -> Vec<Package> {
    let mut packages: BTreeMap<&str, Vec<&crate::manifest::File>> = BTreeMap::new();
    for file in files {
        packages.entry(&file.package).or_default().push(file);
    }
    let mut packages: Vec<Package> = packages
        .into_iter()
        .map(|(name, files)| Package {
            name: name.to_owned(),
            unpacked: files.iter().map(|file| file.bytes).sum(),
            files: files.len(),
            largest: files
                .iter()
                .max_by_key(|file| file.bytes)
                .map(|file| file.path.clone())
                .unwrap_or_default(),
        })
        .collect();
    packages.sort_by_key(|package| std::cmp::Reverse(package.unpacked));
    packages
}
