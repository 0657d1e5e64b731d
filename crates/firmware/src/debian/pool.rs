//! The packages of one build, unpacked. It begins empty; packages come in by name, or
//! because a file of a package that is in needs a library of one that is not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Archive, Error, Record};
use crate::progress::Step;
use crate::tool;

/// An unpacked package.
#[derive(Debug, Clone)]
pub struct Package {
    /// What the index says of it.
    pub record: Record,
    /// The folder that holds its files.
    pub folder: PathBuf,
}

/// The packages of one build.
#[derive(Debug)]
pub struct Pool<'a> {
    archive: &'a Archive,
    step: &'a Step,
    packages: BTreeMap<String, Package>,
    /// Names that the index does not have (virtual packages, mostly).
    absent: BTreeSet<String>,
}

impl<'a> Pool<'a> {
    /// An empty pool; `step` is told of the downloads.
    #[must_use]
    pub fn new(archive: &'a Archive, step: &'a Step) -> Self {
        Self { archive, step, packages: BTreeMap::new(), absent: BTreeSet::new() }
    }

    /// The packages so far, by name.
    #[must_use]
    pub fn packages(&self) -> &BTreeMap<String, Package> {
        &self.packages
    }

    /// The package `name`, if it is in.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Package> {
        self.packages.get(name)
    }

    /// Whether it makes sense to bring in `name`: it is neither in nor known to be absent.
    #[must_use]
    pub fn may_bring(&self, name: &str) -> bool {
        !self.packages.contains_key(name) && !self.absent.contains(name)
    }

    /// Brings these packages in. `needed_by` is for the error message.
    ///
    /// # Errors
    /// [`Error`], which names the package.
    pub fn require(&mut self, names: &[String], needed_by: &str) -> Result<(), Error> {
        self.bring(names)?;
        match names.iter().find(|name| !self.packages.contains_key(*name)) {
            None => Ok(()),
            Some(name) if self.archive.is_held() => Err(Error::NotLocked {
                name: name.clone(),
                suite: self.archive.suite().to_owned(),
                architecture: self.archive.architecture().debian(),
            }),
            Some(name) => Err(Error::NoSuchPackage {
                name: name.clone(),
                suite: self.archive.suite().to_owned(),
                architecture: self.archive.architecture().debian(),
                needed_by: needed_by.to_owned(),
            }),
        }
    }

    /// Brings in those of these packages that the index has.
    ///
    /// # Errors
    /// [`Error`], which names the package.
    pub fn bring(&mut self, names: &[String]) -> Result<(), Error> {
        let new: BTreeSet<String> =
            names.iter().filter(|name| self.may_bring(name)).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let new: Vec<String> = new.into_iter().collect();
        let records = self.archive.records(&new)?;
        self.step.detail(&format!("{} packages, fetching {}", self.packages.len(), new.join(" ")));
        // The index may hold one more version of a package than it prints first; apt's own
        // choice comes first.
        let mut chosen: BTreeMap<String, Record> = BTreeMap::new();
        for record in records {
            chosen.entry(record.name.clone()).or_insert(record);
        }
        let chosen: Vec<Record> = chosen.into_values().collect();
        let unpacked = |record: &Record| self.archive.folder_of(record).is_dir();
        let fresh: Vec<Record> = chosen.iter().filter(|r| !unpacked(r)).cloned().collect();
        self.archive.download(&fresh)?;
        for record in chosen {
            let package = self.unpack(record)?;
            self.packages.insert(package.record.name.clone(), package);
        }
        for name in new {
            if !self.packages.contains_key(&name) {
                self.absent.insert(name);
            }
        }
        Ok(())
    }

    fn unpack(&self, record: Record) -> Result<Package, Error> {
        let folder = self.archive.folder_of(&record);
        if folder.is_dir() {
            return Ok(Package { record, folder });
        }
        let file = |source| Error::File { path: folder.clone(), source };
        let scratch = tempfile::tempdir_in(self.archive.unpacked()).map_err(file)?;
        let unpacked = scratch.path().join("package");
        tool::DPKG_DEB
            .run(
                tool::DPKG_DEB
                    .command()
                    .arg("--extract")
                    .arg(self.archive.debs().join(record.file_name()))
                    .arg(&unpacked),
            )
            .map_err(|source| Error::Unpack {
                name: record.name.clone(),
                version: record.version.clone(),
                source,
            })?;
        std::fs::rename(&unpacked, &folder).map_err(file)?;
        Ok(Package { record, folder })
    }
}
