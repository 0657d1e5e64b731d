//! `run`: the image in QEMU, with the console on this terminal.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use peercam_firmware::progress::Progress;
use peercam_firmware::qemu::{Machine, WorkingCopy, media_ports};

use super::BoardArgument;

/// Boot a board's image in QEMU, console on this terminal (Ctrl-A x ends it)
///
/// The guest writes to a copy below out/NAME/run/, which is kept; a new image replaces all
/// of it but /data. The host is 10.0.2.2 for the guest; UDP ports 50000-50015 of the host
/// lead to the camera.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    board: BoardArgument,
    /// Put this file on the boot partition as peercam.toml: the camera's settings
    #[arg(long, value_name = "FILE")]
    peercam_toml: Option<PathBuf>,
    /// Throw away what the guest writes
    #[arg(long)]
    snapshot: bool,
    /// Begin with a fresh copy, /data too
    #[arg(long)]
    fresh: bool,
    /// The host's address on which the camera's UDP ports are open
    #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::UNSPECIFIED)]
    listen: Ipv4Addr,
}

impl Run {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (workspace, board) = self.board.load()?;
        let folder = workspace.out(&board.name).join("run");
        if self.fresh && folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        let progress = Progress::to_stderr();
        let step = progress.step("working copy");
        let disk = WorkingCopy::prepare(&workspace, &board.name, &folder)?;
        if let Some(path) = &self.peercam_toml {
            let contents = std::fs::read(path).with_context(|| path.display().to_string())?;
            disk.write_boot_file("peercam.toml", &contents)?;
        }
        step.done(&disk.path().display().to_string());

        let mut machine = Machine::new(&board, &disk)?;
        machine.snapshot = self.snapshot;
        machine.forwards = media_ports(self.listen);
        progress.note(&format!("{}: Ctrl-A x ends it, Ctrl-A h helps", board.description));
        // QEMU takes this process's place: signals and the terminal are all its own.
        let mut command = machine.command();
        let error = command.exec();
        let program = command.get_program().to_string_lossy().into_owned();
        Err(error).with_context(|| {
            format!("{program} can't be started; `./scripts/setup firmware` installs it")
        })
    }
}
