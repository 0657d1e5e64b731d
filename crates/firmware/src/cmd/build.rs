//! `build`: from source to a disk image.

use clap::Args;
use peercam_firmware::build;
use peercam_firmware::progress::Progress;
use peercam_firmware::sizes::Report;

use super::BoardArgument;

/// Build a board's image; what has not changed is not built again
///
/// Compiles the camera's programs with `cross`, takes what they need from Debian packages
/// (each checked against the archive's signature), and makes out/NAME/peercam-NAME.img with
/// out/NAME/manifest.json beside it. An image over the board's budget is made, but an
/// error: what weighs so much is printed first.
///
/// Downloads are kept below ~/.cache/peercam. PEERCAM_DEBIAN_MIRROR names another mirror;
/// with PEERCAM_OFFLINE set, only what is cached is used.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Build {
    #[command(flatten)]
    board: BoardArgument,
    /// Bring the package index up to date first, and take the newest packages
    #[arg(long)]
    update: bool,
}

impl Build {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (workspace, board) = self.board.load()?;
        let options = build::Options { update: self.update };
        let manifest = build::build(&workspace, &board, options, &Progress::to_stderr())?;
        println!("{}", workspace.image(&board.name).display());
        let report = Report::new(&manifest, board.budgets);
        let exceeded = report.exceeded();
        if !exceeded.is_empty() {
            eprint!("{}", report.to_text());
            anyhow::bail!(
                "{}\nthe image is there; above is what weighs so much",
                exceeded.join("\n")
            );
        }
        Ok(())
    }
}
