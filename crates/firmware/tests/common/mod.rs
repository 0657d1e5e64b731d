//! A source tree of its own for each test, small enough to be read in the test.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
        let output = Command::new(env!("CARGO_BIN_EXE_peercam-firmware"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .output()
            .unwrap();
        Ended(output)
    }
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
