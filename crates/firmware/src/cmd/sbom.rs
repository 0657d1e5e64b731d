//! `sbom`: the bill of materials.

use clap::Args;
use peercam_firmware::sbom;

use super::{BoardArgument, manifest};

/// Print the bill of materials of a board's image: CycloneDX 1.6, JSON
///
/// Each Debian package with its version, the hash of its file and the files of it that are in
/// the image; each crate that our programs are made of, with its licence, and Rust's standard
/// library. All as it was when the image was built; the same image gives the same bytes.
#[derive(Debug, Args)]
pub struct Sbom {
    #[command(flatten)]
    board: BoardArgument,
}

impl Sbom {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (workspace, board) = self.board.load()?;
        let manifest = manifest(&workspace, &board.name)?;
        let version = env!("CARGO_PKG_VERSION");
        let document = sbom::document(&manifest, manifest.programs()?, version);
        println!("{}", serde_json::to_string_pretty(&document)?);
        Ok(())
    }
}
