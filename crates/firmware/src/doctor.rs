//! Whether this machine has all that `build` and `run` need, and the way out where not.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::board::Board;
use crate::build::emulator;
use crate::debian;
use crate::tool::{self, Tool};
use crate::workspace::Workspace;

/// The way out that cures everything below.
pub const CURE: &str = "./scripts/setup firmware";

/// One thing that is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The program or file.
    pub name: String,
    /// What it is needed for.
    pub purpose: String,
    /// The Debian package that has it, where one does.
    pub package: Option<String>,
    /// Whether it is there.
    pub found: bool,
    /// Its version, where it tells.
    pub version: Option<String>,
}

/// Looks for everything that the board needs.
#[must_use]
pub fn examine(workspace: &Workspace, board: &Board) -> Vec<Finding> {
    let mut findings: Vec<Finding> = tool::ALL.iter().map(program).collect();
    findings.push(program(&emulator(board.architecture)));
    findings.push(file(
        Path::new(debian::KEYRING),
        "debian-archive-keyring",
        "the keys that packages are checked with",
    ));
    findings.push(compiler(workspace, board));
    if let Some(qemu) = &board.qemu {
        let name = format!("qemu-system-{}", board.architecture.qemu());
        findings.push(named_program(&name, "qemu-system-arm", "runs the image", Some("--version")));
        findings.push(file(&qemu.firmware, "u-boot-qemu", "starts the image in QEMU"));
    }
    findings
}

fn program(tool: &Tool) -> Finding {
    named_program(tool.program, tool.package, tool.purpose, tool.version)
}

fn named_program(name: &str, package: &str, purpose: &str, version: Option<&str>) -> Finding {
    let found = tool::on_path(name);
    let version = version.filter(|_| found).and_then(|argument| version_of(name, argument));
    Finding {
        name: name.to_owned(),
        purpose: purpose.to_owned(),
        package: Some(package.to_owned()),
        found,
        version,
    }
}

fn file(path: &Path, package: &str, purpose: &str) -> Finding {
    Finding {
        name: path.display().to_string(),
        purpose: purpose.to_owned(),
        package: Some(package.to_owned()),
        found: path.is_file(),
        version: None,
    }
}

/// `scripts/cross --version` says whether cross and a container engine are there; the build
/// container it makes by itself.
fn compiler(workspace: &Workspace, board: &Board) -> Finding {
    let output = Command::new(workspace.root().join("scripts/cross")).arg("--version").output();
    let version = output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| first_line(&output.stdout));
    Finding {
        name: format!("scripts/cross for {}", board.target),
        purpose: "compiles our programs in the build container".to_owned(),
        package: None,
        found: version.is_some(),
        version,
    }
}

fn version_of(name: &str, argument: &str) -> Option<String> {
    let output = Command::new(name)
        .arg(argument)
        .env("PATH", tool::search_path())
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    first_line(&output.stdout).or_else(|| first_line(&output.stderr))
}

fn first_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}
