//! `sbom`: the bill of materials.

use clap::Args;
use peercam_firmware::{build, crates, sbom};

use super::{BoardArgument, manifest};

/// Print the bill of materials of a board's image: CycloneDX 1.6, JSON
///
/// Each Debian package with its version, the hash of its file and the files of it that are in
/// the image; each crate that our programs are made of, with its licence. The same image
/// gives the same bytes.
#[derive(Debug, Args)]
pub struct Sbom {
    #[command(flatten)]
    board: BoardArgument,
}

impl Sbom {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (workspace, board) = self.board.load()?;
        let manifest = manifest(&workspace, &board.name)?;
        let crates = crates::of(workspace.root(), &board.target, &build::programs())?;
        let version = env!("CARGO_PKG_VERSION");
        let document = sbom::document(&manifest, &crates, version, &board.debian.suite);
        println!("{}", serde_json::to_string_pretty(&document)?);
        Ok(())
    }
}
