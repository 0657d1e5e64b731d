//! An archive in a folder; everything else is real: apt, its index, dpkg's packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use peercam_firmware::board::Architecture;
use peercam_firmware::debian::Archive;
use peercam_firmware::progress::Progress;

/// The version of packages that say no other.
pub const VERSION: &str = "1:2.0-1";

/// An archive in a folder, and a cache that knows its index: to be the user's, set
/// `XDG_CACHE_HOME` to `path("")`.
pub struct Mirror {
    folder: tempfile::TempDir,
}

impl Mirror {
    pub fn new() -> Self {
        let mirror = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(mirror.path("pool")).unwrap();
        mirror
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn cache(&self) -> PathBuf {
        self.path("peercam/debian/trixie-arm64")
    }

    /// Puts a package with one file into the archive.
    pub fn package(self, name: &str, depends: &str, file: &str) -> Self {
        self.version(name, VERSION, depends, &[file])
    }

    /// Puts a version of a package with these files into the archive.
    pub fn version(self, name: &str, version: &str, depends: &str, files: &[&str]) -> Self {
        let deb = self.deb_of(name, version);
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &Path, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for file in files {
            put(&tree.path().join(file), name);
        }
        let depends =
            if depends.is_empty() { String::new() } else { format!("Depends: {depends}\n") };
        put(
            &tree.path().join("DEBIAN/control"),
            &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: arm64\n{depends}\
                 Maintainer: Test <test@example.org>\nDescription: for a test\n"
            ),
        );
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(tree.path().join("DEBIAN"), mode).unwrap();
        run(Command::new("dpkg-deb").arg("--build").arg(tree.path()).arg(deb));
        self
    }

    /// The file of a package of the usual version.
    pub fn deb(&self, name: &str) -> PathBuf {
        self.deb_of(name, VERSION)
    }

    pub fn deb_of(&self, name: &str, version: &str) -> PathBuf {
        self.path(&format!("pool/{name}_{}_arm64.deb", version.replace(':', "-")))
    }

    /// Writes the index and lets apt fetch it.
    pub fn open(&self) -> Archive {
        let mut index = String::new();
        for entry in std::fs::read_dir(self.path("pool")).unwrap() {
            let deb = entry.unwrap().path();
            if deb.extension().is_none_or(|extension| extension != "deb") {
                continue;
            }
            let control = run(Command::new("dpkg-deb").arg("--field").arg(&deb));
            let file = deb.file_name().unwrap().to_str().unwrap();
            let size = deb.metadata().unwrap().len();
            let hash = peercam_firmware::hash::file(&deb).unwrap();
            index.push_str(&format!(
                "{control}Filename: ./{file}\nSize: {size}\nSHA256: {hash}\n\n"
            ));
        }
        std::fs::write(self.path("pool/Packages"), &index).unwrap();

        // An index that is there is not fetched again, so no network is asked.
        std::fs::create_dir_all(self.cache()).unwrap();
        std::fs::write(self.cache().join("index"), index).unwrap();
        let cache = self.path("peercam");
        let archive =
            Archive::open(&cache, "trixie", Architecture::Arm64, &Progress::silent()).unwrap();
        let source = format!("deb [trusted=yes] copy:{} ./\n", self.path("pool").display());
        std::fs::write(self.cache().join("etc/sources.list"), source).unwrap();
        let config = self.cache().join("etc/apt.conf");
        run(Command::new("apt-get").arg("update").env("APT_CONFIG", config));
        archive
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
