//! `peercam-firmware`: the host tool that builds images and runs them. The work is in the
//! library; [`cmd`] has a file for each verb.

mod cmd;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use cmd::UsageError;
use cmd::flash::Declined;
use peercam_firmware::flash;

/// Build peercam's firmware images from source, and run them in QEMU
///
/// A board is a folder in board/ (board/README.md says what goes into its board.toml); the
/// first image takes some minutes, the next ones only what has changed.
#[derive(Debug, Parser)]
#[command(
    name = "peercam-firmware",
    version,
    after_help = "Examples:\n  \
        peercam-firmware build --board qemu-aarch64\n  \
        peercam-firmware run   --board qemu-aarch64 --peercam-toml my-camera.toml\n  \
        peercam-firmware flash --board qemu-aarch64 /dev/sdX\n  \
        peercam-firmware sizes --board qemu-aarch64 --json | jq .total\n  \
        peercam-firmware update-lock --dry-run\n\n\
        Standard output is data; progress and errors are on standard error.\n\
        Exit status: 0 done, 1 failed, 2 wrong usage or configuration."
)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Board(cmd::board::Boards),
    Build(cmd::build::Build),
    Bundle(cmd::bundle::Bundle),
    Flash(cmd::flash::Flash),
    Run(cmd::run::Run),
    Licences(cmd::licences::Licences),
    Sbom(cmd::sbom::Sbom),
    Sizes(cmd::sizes::Sizes),
    UpdateLock(cmd::update_lock::UpdateLock),
    Doctor(cmd::doctor::Doctor),
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().verb {
        Verb::Board(verb) => verb.run(),
        Verb::Build(verb) => verb.run(),
        Verb::Bundle(verb) => verb.run(),
        Verb::Flash(verb) => verb.run(),
        Verb::Licences(verb) => verb.run(),
        Verb::Run(verb) => verb.run(),
        Verb::Sbom(verb) => verb.run(),
        Verb::Sizes(verb) => verb.run(),
        Verb::UpdateLock(verb) => verb.run(),
        Verb::Doctor(verb) => verb.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", cmd::sentence(&error));
            ExitCode::from(exit_status(&error))
        }
    }
}

fn exit_status(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() {
        return 2;
    }
    if error.is::<Declined>() {
        return 3;
    }
    error.downcast_ref().map_or(1, flash::Error::exit_status)
}
