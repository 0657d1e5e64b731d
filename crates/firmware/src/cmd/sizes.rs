//! `sizes`: what weighs how much.

use anyhow::Context;
use clap::Args;
use peercam_firmware::manifest::Manifest;
use peercam_firmware::sizes::Report;

use super::BoardArgument;

/// Print what is in a board's image by part and package, largest first
///
/// Fails, and says by how much, when the image is over the board's budget.
#[derive(Debug, Args)]
pub struct Sizes {
    #[command(flatten)]
    board: BoardArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Sizes {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (workspace, board) = self.board.load()?;
        let manifest = Manifest::read(&workspace.manifest(&board.name)).with_context(|| {
            format!("there is no image: `peercam-firmware build --board {}` makes it", board.name)
        })?;
        let report = Report::new(&manifest, board.budgets);
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
