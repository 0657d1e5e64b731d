//! An apt of our own: its own sources, index and downloads below the user's cache, nothing
//! of the host's configuration, and no rights of root.
//!
//! Which mirror is used is mmdebstrap's knowledge (`PEERCAM_DEBIAN_MIRROR` names another
//! one). Who signs is fixed: Debian's archive keys from the package debian-archive-keyring.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Error, Record};
use crate::board::Architecture;
use crate::hash;
use crate::progress::{Progress, Step};
use crate::tool::{self, Tool};

/// Debian's keys, from the package debian-archive-keyring.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An index that is out of step with itself usually is for seconds, sometimes for hours.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10)];

const UNPACKED: &str = "unpacked";

/// A Debian release for one architecture, with its place in the cache.
#[derive(Debug)]
pub struct Archive {
    suite: String,
    architecture: Architecture,
    folder: PathBuf,
    /// The only packages that there are, by name, whatever the index has.
    held_to: Option<BTreeMap<String, Record>>,
    /// Held as long as this lives: two builds at once take turns.
    _lock: std::fs::File,
}

impl Archive {
    /// Opens the archive in the cache; sets it up, with a first index, where it is new.
    ///
    /// # Errors
    /// [`Error`]; what fails is named.
    pub fn open(
        cache: &Path,
        suite: &str,
        architecture: Architecture,
        progress: &Progress,
    ) -> Result<Self, Error> {
        let folder = folder(cache, suite, architecture);
        for inside in ["etc", "lists/partial", "archives/partial", "debs", UNPACKED] {
            create_folder(&folder.join(inside))?;
        }
        let lock = lock(&folder.join("lock"), progress)?;
        let suite = suite.to_owned();
        let archive = Self { suite, architecture, folder, held_to: None, _lock: lock };
        archive.configure()?;
        if !archive.index_stamp().is_file() {
            archive.refresh(progress)?;
        }
        Ok(archive)
    }

    /// Where the packages of a release are unpacked, whether there are any yet or not.
    #[must_use]
    pub fn unpacked_in(cache: &Path, suite: &str, architecture: Architecture) -> PathBuf {
        folder(cache, suite, architecture).join(UNPACKED)
    }

    /// Debian's name of the architecture.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The release.
    #[must_use]
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// The file whose change says that the index was brought up to date.
    fn index_stamp(&self) -> PathBuf {
        self.folder.join("index")
    }

    /// Where the files of packages lie once they are downloaded.
    #[must_use]
    pub fn debs(&self) -> PathBuf {
        self.folder.join("debs")
    }

    /// Where a package is unpacked.
    pub(super) fn folder_of(&self, record: &Record) -> PathBuf {
        // The hash is part of the name: what is unpacked once under it stays right.
        let hash = record.sha256.get(..16).unwrap_or(&record.sha256);
        self.unpacked().join(format!("{}-{hash}", record.file_name()))
    }

    /// From now on there are these packages and no others, whatever the index has.
    pub fn hold_to(&mut self, packages: &[Record]) {
        let by_name = packages.iter().map(|package| (package.name.clone(), package.clone()));
        self.held_to = Some(by_name.collect());
    }

    /// From now on there is what the index has.
    pub fn let_go(&mut self) {
        self.held_to = None;
    }

    /// Whether it is held to a list of packages.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held_to.is_some()
    }

    /// Adds to `fingerprint` all that decides which packages there are.
    pub(crate) fn add_to(&self, fingerprint: &mut hash::Fingerprint) -> std::io::Result<()> {
        match &self.held_to {
            Some(packages) => fingerprint.value(packages),
            None => fingerprint.path(&self.index_stamp()),
        }
    }

    /// Those of these packages that can't be had: neither the cache nor the index has them.
    ///
    /// # Errors
    /// When apt-cache can't be started.
    pub fn gone(&self, packages: &[Record]) -> Result<Vec<Record>, Error> {
        let mut gone: Vec<Record> = packages.to_vec();
        gone.retain(|package| !self.folder_of(package).is_dir() && self.verify(package).is_err());
        let names: Vec<String> = gone.iter().map(|package| package.name.clone()).collect();
        let there = self.in_index(&names, &[])?;
        gone.retain(|package| {
            !there.iter().any(|there| {
                (&there.name, &there.version, &there.sha256)
                    == (&package.name, &package.version, &package.sha256)
            })
        });
        Ok(gone)
    }

    pub(super) fn unpacked(&self) -> PathBuf {
        self.folder.join(UNPACKED)
    }

    /// Brings the index up to date; apt checks the signatures.
    ///
    /// The release itself must come. Its updates (`-updates`, `-security`) are left out, and
    /// said to be, when their index stays out of step through several tries: the packages of
    /// the release fit each other, and a build goes on.
    ///
    /// # Errors
    /// [`Error::Index`] after the last try, [`Error::Tool`] when apt is missing.
    pub fn refresh(&self, progress: &Progress) -> Result<(), Error> {
        let step = progress.step(&format!(
            "package index ({} {})",
            self.suite,
            self.architecture.debian()
        ));
        let sources = self.sources()?;
        let mut left_out = Vec::new();
        self.write_sources(&sources)?;
        if let Err(error) = self.update(&step) {
            let (release, updates): (Vec<_>, Vec<_>) =
                sources.into_iter().partition(|source| source.suite() == self.suite);
            if release.is_empty() || updates.is_empty() {
                return Err(error);
            }
            let mut kept = release;
            self.write_sources(&kept)?;
            self.update(&step)?;
            for source in updates {
                kept.push(source);
                self.write_sources(&kept)?;
                if self.update_once().is_err() {
                    left_out.extend(kept.pop().map(|source| source.suite().to_owned()));
                    self.write_sources(&kept)?;
                }
            }
            // Without this, apt would go on using what it has of the sources left out.
            self.update(&step)?;
        }
        write(&self.index_stamp(), &self.index_hash()?)?;
        step.done("");
        if !left_out.is_empty() {
            progress.note(&format!(
                "warning: {} out of step at the mirror, left out of this index \
                 (`peercam-firmware build --update` tries again)",
                left_out.join(" and ")
            ));
        }
        Ok(())
    }

    fn update(&self, step: &Step) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            match self.update_once() {
                Ok(()) => return Ok(()),
                Err(source @ tool::Error::Start { .. }) => return Err(source.into()),
                Err(source) => {
                    let Some(pause) = PAUSES.get(tries) else {
                        let suite = self.suite.clone();
                        return Err(Error::Index { suite, tries: tries + 1, source });
                    };
                    tries += 1;
                    step.detail(&format!("try {tries} failed, the next one in {pause:?}"));
                    std::thread::sleep(*pause);
                }
            }
        }
    }

    fn update_once(&self) -> Result<(), tool::Error> {
        let mut command = self.apt(&tool::APT_GET);
        tool::APT_GET.run(command.args(["--quiet", "update"])).map(drop)
    }

    /// The lists' own signed heads tell one index from another.
    fn index_hash(&self) -> Result<String, Error> {
        let lists = self.folder.join("lists");
        let mut fingerprint = hash::Fingerprint::of("index");
        let paths = hash::tree(&lists).map_err(|source| Error::File { path: lists, source })?;
        for path in paths {
            if path.to_string_lossy().ends_with("Release") {
                fingerprint
                    .path(&path)
                    .map_err(|source| Error::File { path: path.clone(), source })?;
            }
        }
        Ok(fingerprint.finish())
    }

    /// What the index, or the list that this is held to, says of these packages; those that it
    /// does not have are left out.
    ///
    /// # Errors
    /// When apt-cache can't be started.
    pub fn records(&self, names: &[String]) -> Result<Vec<Record>, Error> {
        match &self.held_to {
            Some(packages) => {
                Ok(names.iter().filter_map(|name| packages.get(name)).cloned().collect())
            }
            None => self.in_index(names, &["--no-all-versions"]),
        }
    }

    fn in_index(&self, names: &[String], options: &[&str]) -> Result<Vec<Record>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = self.apt(&tool::APT_CACHE);
        command.arg("show").args(options).arg("--").args(names);
        let output = command.output().map_err(|source| tool::Error::Start {
            program: tool::APT_CACHE.program,
            package: tool::APT_CACHE.package,
            purpose: tool::APT_CACHE.purpose,
            source,
        })?;
        // Its exit status is bad as soon as one name is unknown; the caller sees that by
        // what is missing.
        Ok(Record::parse_all(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Makes the files of these packages lie in the cache, each with the hash that its record
    /// names.
    ///
    /// # Errors
    /// [`Error::Download`] or [`Error::Broken`], which name the package.
    pub fn download(&self, records: &[Record]) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for record in records {
            match self.verify(record) {
                Ok(()) => {}
                Err(Error::File { .. }) => wanted.push(record),
                Err(broken @ Error::Broken { .. }) => {
                    // A broken file in the cache must not stay in the way of a good one.
                    remove(&self.debs().join(record.file_name()))?;
                    if self.is_offline() {
                        return Err(broken);
                    }
                    wanted.push(record);
                }
                Err(other) => return Err(other),
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let mut command = self.apt(&tool::APT_GET);
        command
            .current_dir(self.debs())
            .args(["--quiet", "download"])
            .args(wanted.iter().map(|record| format!("{}={}", record.name, record.version)));
        let result = tool::APT_GET.run(&mut command);
        for record in &wanted {
            match (self.verify(record), &result) {
                (Ok(()), _) => {}
                (Err(Error::File { .. }), Ok(_)) => {
                    return Err(download_error(record, "apt-get brought no such file"));
                }
                (Err(Error::File { .. }), Err(error)) => {
                    return Err(download_error(record, &error.to_string()));
                }
                (Err(other), _) => return Err(other),
            }
        }
        Ok(())
    }

    /// Compares a downloaded file with its record.
    fn verify(&self, record: &Record) -> Result<(), Error> {
        let path = self.debs().join(record.file_name());
        let found =
            hash::file(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        if found == record.sha256 {
            return Ok(());
        }
        Err(Error::Broken {
            name: record.name.clone(),
            version: record.version.clone(),
            path,
            found,
            expected: record.sha256.clone(),
        })
    }

    /// `PEERCAM_OFFLINE`: use what is in the cache and nothing else.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        std::env::var_os("PEERCAM_OFFLINE").is_some()
    }

    fn apt(&self, tool: &Tool) -> Command {
        let mut command = tool.command();
        // apt reads the file named here before anything else; it points apt's folders away
        // from the host's, so that no configuration of the host is seen.
        command.env("APT_CONFIG", self.folder.join("etc/apt.conf"));
        command
    }

    fn configure(&self) -> Result<(), Error> {
        let folder = self.folder.display();
        let architecture = self.architecture.debian();
        let offline =
            if self.is_offline() { "Acquire::http::Proxy \"http://127.0.0.1:9\";\n" } else { "" };
        write(
            &self.folder.join("etc/apt.conf"),
            &format!(
                "Dir \"{folder}\";\n\
                 Dir::Etc \"{folder}/etc\";\n\
                 Dir::Etc::Parts \"/dev/null\";\n\
                 Dir::Etc::PreferencesParts \"/dev/null\";\n\
                 Dir::Etc::SourceParts \"/dev/null\";\n\
                 Dir::State \"{folder}\";\n\
                 Dir::State::Lists \"{folder}/lists\";\n\
                 Dir::State::Status \"/dev/null\";\n\
                 Dir::Cache \"{folder}\";\n\
                 Dir::Cache::Archives \"{folder}/archives\";\n\
                 Dir::Log \"{folder}\";\n\
                 APT::Architecture \"{architecture}\";\n\
                 APT::Architectures {{ \"{architecture}\"; }};\n\
                 APT::Sandbox::User \"\";\n\
                 APT::Update::Error-Mode \"any\";\n\
                 Acquire::Languages \"none\";\n\
                 Acquire::Retries \"3\";\n\
                 {offline}"
            ),
        )
    }

    /// Where packages come from: what mmdebstrap would use for this release, or the mirror
    /// that the user names.
    fn sources(&self) -> Result<Vec<Source>, Error> {
        if !Path::new(KEYRING).is_file() {
            return Err(Error::NoKeyring { path: KEYRING.into() });
        }
        let lines = match std::env::var("PEERCAM_DEBIAN_MIRROR") {
            Ok(mirror) if !mirror.is_empty() => format!("deb {mirror} {} main\n", self.suite),
            _ => self.default_sources()?,
        };
        Ok(lines.lines().filter_map(Source::parse).collect())
    }

    /// Writes `sources.list`, each line bound to Debian's keys.
    fn write_sources(&self, sources: &[Source]) -> Result<(), Error> {
        let lines: String = sources
            .iter()
            .map(|Source(line)| format!("deb [signed-by={KEYRING}] {line}\n"))
            .collect();
        write(&self.folder.join("etc/sources.list"), &lines)
    }

    /// Asks mmdebstrap for its sources: it writes them before anything is fetched, shows
    /// them to a hook, and the hook ends it there.
    fn default_sources(&self) -> Result<String, Error> {
        let mut command = tool::MMDEBSTRAP.command();
        command
            .args(["--mode=chrootless", "--variant=extract", "--skip=check/qemu", "--format=null"])
            .arg(format!("--architectures={}", self.architecture.debian()))
            .arg("--setup-hook=cat \"$1/etc/apt/sources.list\" >&2; exit 1")
            .args([self.suite.as_str(), "/dev/null"]);
        let output = command.output().map_err(|source| tool::Error::Start {
            program: tool::MMDEBSTRAP.program,
            package: tool::MMDEBSTRAP.package,
            purpose: tool::MMDEBSTRAP.purpose,
            source,
        })?;
        let text = String::from_utf8_lossy(&output.stderr);
        let sources: String = text
            .lines()
            .filter(|line| line.starts_with("deb "))
            .map(|line| format!("{line}\n"))
            .collect();
        if sources.is_empty() {
            return Err(Error::NoSources { suite: self.suite.clone(), output: text.into_owned() });
        }
        Ok(sources)
    }
}

/// One place that packages come from: `<mirror> <suite> <components>`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source(String);

impl Source {
    /// From a line of `sources.list`; mmdebstrap may have put options of its own in brackets.
    fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix("deb ")?;
        Some(Self(line.rsplit_once("] ").map_or(line, |(_, rest)| rest).trim().to_owned()))
    }

    fn suite(&self) -> &str {
        self.0.split_whitespace().nth(1).unwrap_or_default()
    }
}

fn folder(cache: &Path, suite: &str, architecture: Architecture) -> PathBuf {
    cache.join("debian").join(format!("{suite}-{}", architecture.debian()))
}

fn download_error(record: &Record, reason: &str) -> Error {
    Error::Download {
        name: record.name.clone(),
        version: record.version.clone(),
        reason: reason.to_owned(),
    }
}

fn lock(path: &Path, progress: &Progress) -> Result<std::fs::File, Error> {
    let error = |source| Error::File { path: path.to_owned(), source };
    let file = std::fs::File::create(path).map_err(error)?;
    if file.try_lock().is_err() {
        progress.note("another build uses the package cache: waiting for it");
        file.lock().map_err(error)?;
    }
    Ok(file)
}

fn create_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn remove(path: &Path) -> Result<(), Error> {
    std::fs::remove_file(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
