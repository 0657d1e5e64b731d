//! A source tree of its own for each test, small enough to be read in the test.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub mod mirror;

use peercam_firmware::board::{self, Board};
use peercam_firmware::workspace::Workspace;

/// Enough of a `base.toml` for a board that only says which architecture it has.
pub const BASE: &str = r#"
description = "a camera"

[debian]
suite = "trixie"

[kernel]
package = "linux-image"
command-line = ["quiet"]
modules.initramfs = ["squashfs"]

[gstreamer]
elements = ["queue"]
plugins.coreelements = { package = "libgstreamer1.0-0", elements = ["queue", "tee"] }

[image]
boot-size = "4 MiB"
root-size = "64 MiB"
data-size = "1 MiB"

[budgets]
root = "20 MB"
total = "40 MB"
watchdog = "1 MB"
"#;

/// A board on that base.
pub const CAMERA: &str = r#"
inherits = "base"
architecture = "arm64"
target = "aarch64-unknown-linux-gnu"
"#;

/// A folder that looks like the source tree.
pub struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    pub fn new() -> Self {
        let tree = Self { folder: tempfile::tempdir().unwrap() };
        tree.file("board/base.toml", BASE).file("board/camera/board.toml", CAMERA)
    }

    pub fn file(self, path: &str, contents: impl AsRef<[u8]>) -> Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
        self
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn workspace(&self) -> Workspace {
        Workspace::new(self.folder.path(), &self.path("cache"))
    }

    pub fn board(&self, name: &str) -> Result<Board, board::Error> {
        Board::load(&self.workspace(), name)
    }

    /// Why a board can't be loaded, in words.
    pub fn board_error(&self, name: &str) -> String {
        self.board(name).unwrap_err().to_string()
    }

    /// Runs the program inside this tree.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended(self.command(arguments, &self.path("cache")).output().unwrap())
    }

    /// Runs the program inside this tree, with what is in the cache at `cache` and no network.
    pub fn run_offline(&self, arguments: &[&str], cache: &Path) -> Ended {
        let mut command = self.command(arguments, cache);
        Ended(command.env("PEERCAM_OFFLINE", "1").output().unwrap())
    }

    fn command(&self, arguments: &[&str], cache: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peercam-firmware"));
        command.args(arguments).current_dir(self.folder.path()).env("XDG_CACHE_HOME", cache);
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command
    }
}

/// A workspace with the programs of an image, in which a crate is `part` of the agent, and
/// others only compile or test it.
pub fn workspace() -> Tree {
    let package = |name: &str, more: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.2.0\"\nedition = \"2021\"\n\
             license = \"MIT OR Apache-2.0\"\n{more}"
        )
    };
    let agent = package(
        "peercam-agent",
        "[dependencies]\npart = { path = \"../part\" }\nderive = { path = \"../derive\" }\n\
         [build-dependencies]\nbuilder = { path = \"../builder\" }\n\
         [dev-dependencies]\ntester = { path = \"../tester\" }\n",
    );
    let mut tree = Tree::new()
        .file("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\nexclude = [\"crates/older-0.2.0\"]\n")
        .file("crates/agent/Cargo.toml", agent)
        .file("crates/derive/Cargo.toml", package("derive", "[lib]\nproc-macro = true\n"));
    for (folder, name) in [
        ("watchdog", "peercam-watchdog"),
        ("part", "part"),
        ("builder", "builder"),
        ("tester", "tester"),
    ] {
        tree = tree.file(&format!("crates/{folder}/Cargo.toml"), package(name, ""));
    }
    for folder in ["agent", "watchdog", "part", "derive", "builder", "tester"] {
        tree = tree.file(&format!("crates/{folder}/src/lib.rs"), "");
    }
    let mut lock = "version = 4\n".to_owned();
    for name in ["builder", "derive", "part"] {
        lock.push_str(&format!("\n[[package]]\nname = \"{name}\"\nversion = \"0.2.0\"\n"));
    }
    lock.push_str(
        "\n[[package]]\nname = \"peercam-agent\"\nversion = \"0.2.0\"\n\
         dependencies = [\n \"builder\",\n \"derive\",\n \"part\",\n \"tester\",\n]\n",
    );
    for name in ["peercam-watchdog", "tester"] {
        lock.push_str(&format!("\n[[package]]\nname = \"{name}\"\nversion = \"0.2.0\"\n"));
    }
    tree.file("Cargo.lock", lock)
}

/// How a program ended.
pub struct Ended(Output);

impl Ended {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }
}

/// Compiles C with the host's compiler, which Rust needs for linking anyway.
pub fn compile(source: &str, output: &Path, arguments: &[&str]) {
    let folder = output.parent().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let input = output.with_extension("c");
    std::fs::write(&input, source).unwrap();
    let status = Command::new("cc").arg(&input).arg("-o").arg(output).args(arguments).status();
    assert!(status.unwrap().success(), "{source}");
    std::fs::remove_file(input).unwrap();
}
