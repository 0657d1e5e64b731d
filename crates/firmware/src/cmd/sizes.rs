//! `sizes`: what weighs how much.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use peercam_firmware::board::Board;
use peercam_firmware::compare::Comparison;
use peercam_firmware::manifest::Manifest;
use peercam_firmware::sizes::Report;
use peercam_firmware::workspace::Workspace;

use super::{UsageError, load, manifest, workspace};

/// Print what is in a board's image by part and package, largest first
///
/// Fails, and says by how much, when the image is over the board's budget. With --compare,
/// prints what grew and what shrank between two images, the largest change first.
#[derive(Debug, Args)]
pub struct Sizes {
    /// The board: the name of a folder in board/ with a board.toml
    #[arg(long, value_name = "NAME", required_unless_present = "compare")]
    board: Option<String>,
    /// Compare two images: each the name of a board, whose image in out/ is meant, or the path
    /// of a manifest.json
    #[arg(long, value_names = ["BEFORE", "AFTER"], num_args = 2, conflicts_with = "board")]
    compare: Option<Vec<String>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Sizes {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if let Some([before, after]) = self.compare.as_deref() {
            let workspace = workspace()?;
            let comparison =
                Comparison::new(&named(&workspace, before)?, &named(&workspace, after)?);
            if self.json {
                println!("{}", serde_json::to_string_pretty(&comparison)?);
            } else {
                print!("{}", comparison.to_text());
            }
            return Ok(());
        }
        let (workspace, board) = load(&self.board.unwrap_or_default())?;
        let report = Report::new(&manifest(&workspace, &board.name)?, board.budgets);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{}", report.to_text());
        }
        let exceeded = report.exceeded();
        anyhow::ensure!(exceeded.is_empty(), exceeded.join("\n"));
        Ok(())
    }
}

/// The manifest that a person means: a board's, or a file.
fn named(workspace: &Workspace, name: &str) -> anyhow::Result<Manifest> {
    let boards = Board::list(workspace)?;
    if boards.iter().any(|board| board == name) {
        return manifest(workspace, name);
    }
    if !Path::new(name).is_file() {
        let boards = boards.join(", ");
        let error = anyhow::anyhow!("{name:?} is neither a manifest.json nor a board ({boards})");
        return Err(UsageError(error).into());
    }
    Manifest::read(Path::new(name)).context("not the manifest of an image")
}
