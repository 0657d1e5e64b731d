//! Running other programs: their output is kept, and an error says which one failed, how,
//! and where it comes from.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A program that this tool calls, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// Its name on `PATH`, or its full path.
    pub program: &'static str,
    /// The package to install.
    pub package: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// The argument that makes it print its version, if it has one.
    pub version: Option<&'static str>,
}

macro_rules! tools {
    ($($name:ident: $program:literal, $package:literal, $version:expr, $purpose:literal;)*) => {
        $(#[doc = concat!("`", $program, "`: ", $purpose, ".")]
        pub const $name: Tool = Tool {
            program: $program, package: $package, purpose: $purpose, version: $version,
        };)*
        /// Every program that `build`, `run` and `bundle` call, for all boards.
        pub const ALL: &[Tool] = &[$($name),*];
    };
}

tools! {
    APT_GET: "apt-get", "apt", Some("--version"), "downloads packages and checks them";
    APT_CACHE: "apt-cache", "apt", Some("--version"), "says what a package depends on";
    MMDEBSTRAP: "mmdebstrap", "mmdebstrap", Some("--version"), "knows the archive's mirrors";
    DPKG_DEB: "dpkg-deb", "dpkg", Some("--version"), "unpacks packages";
    XZ: "xz", "xz-utils", Some("--version"), "unpacks kernel modules";
    GZIP: "gzip", "gzip", Some("--version"), "compresses the kernel";
    ZSTD: "zstd", "zstd", Some("--version"), "compresses the initramfs";
    MKSQUASHFS: "mksquashfs", "squashfs-tools", Some("-version"), "makes the root file system";
    MKE2FS: "mke2fs", "e2fsprogs", Some("-V"), "makes /data";
    MKIMAGE: "mkimage", "u-boot-tools", Some("-V"), "wraps the boot script for U-Boot";
    MKDOSFS: "mkdosfs", "dosfstools", None, "makes the boot partition";
    MCOPY: "mcopy", "mtools", Some("--version"), "writes files to the boot partition";
    GENIMAGE: "genimage", "genimage", Some("--version"), "makes the disk image";
    RAUC: "rauc", "rauc", Some("--version"), "makes updates and checks them";
    OPENSSL: "openssl", "openssl", Some("version"), "makes the development key of updates";
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It isn't there.
    #[error(
        "{program} ({purpose}) can't be started: {source}; it is in the package {package}: \
         `./scripts/setup firmware` installs all that is needed"
    )]
    Start {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
        /// What it is for.
        purpose: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// It said no.
    #[error("{program} failed ({status}):\n{output}")]
    Failed {
        /// The program.
        program: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it printed, the last lines.
        output: String,
    },
}

impl Tool {
    /// A command for this program, with the C locale so that its words are known.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.env("LC_ALL", "C").env("PATH", search_path()).stdin(Stdio::null());
        command
    }

    /// Runs `command`, which must be one of this tool's, to its end.
    ///
    /// # Errors
    /// [`Error`] when it can't be started or does not exit with 0.
    pub fn run(&self, command: &mut Command) -> Result<Output, Error> {
        let output = command.output().map_err(|source| Error::Start {
            program: self.program,
            package: self.package,
            purpose: self.purpose,
            source,
        })?;
        check(command.get_program(), output)
    }
}

/// `PATH` and the administrator's folders, which Debian leaves out of a plain user's, and
/// where `mke2fs` is.
pub(crate) fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Whether there is such a program.
pub(crate) fn on_path(name: &str) -> bool {
    search_path().split(':').any(|folder| Path::new(folder).join(name).is_file())
}

/// Turns a bad exit status into an error with the end of what was printed.
pub(crate) fn check(program: &OsStr, output: Output) -> Result<Output, Error> {
    if output.status.success() {
        return Ok(output);
    }
    Err(Error::Failed {
        program: Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned(),
        status: output.status,
        output: last_lines(&output, 20),
    })
}

fn last_lines(output: &Output, count: usize) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
