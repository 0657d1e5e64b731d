//! The verbs, one file each: arguments in, work called, words out.

pub mod board;
pub mod build;
pub mod bundle;
pub mod doctor;
pub mod flash;
pub mod licences;
pub mod run;
pub mod sbom;
pub mod sizes;
pub mod update_lock;

use anyhow::Context;
use clap::Args;
use peercam_firmware::board::Board;
use peercam_firmware::manifest::Manifest;
use peercam_firmware::workspace::Workspace;

/// Which board: of the verbs that are about one.
#[derive(Debug, Args)]
pub struct BoardArgument {
    /// The board: the name of a folder in board/ with a board.toml
    #[arg(long, value_name = "NAME")]
    pub board: String,
}

impl BoardArgument {
    /// Finds the source tree and reads the board.
    ///
    /// # Errors
    /// What can't be found, or what is wrong with the board's file.
    pub fn load(&self) -> Result<(Workspace, Board), UsageError> {
        load(&self.board)
    }
}

/// The source tree around the current directory, and a board of it.
fn load(board: &str) -> Result<(Workspace, Board), UsageError> {
    let workspace = workspace()?;
    let board = Board::load(&workspace, board).map_err(|error| UsageError(error.into()))?;
    Ok((workspace, board))
}

/// The source tree around the current directory.
fn workspace() -> Result<Workspace, UsageError> {
    let here = std::env::current_dir().map_err(|error| UsageError(error.into()))?;
    Workspace::find(&here).map_err(|error| UsageError(error.into()))
}

/// What is in a board's image.
fn manifest(workspace: &Workspace, board: &str) -> anyhow::Result<Manifest> {
    Manifest::read(&workspace.manifest(board)).with_context(|| {
        format!("there is no image: `peercam-firmware build --board {board}` makes it")
    })
}

/// An error and its causes, each once: many say in their own words what their cause is.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |said, cause| {
        let cause = cause.to_string();
        if said.contains(&cause) { said } else { format!("{said}: {cause}") }
    })
}

/// An error of usage or configuration: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UsageError(anyhow::Error);
