//! `build`: from source to a disk image.

use clap::Args;
use peercam_firmware::build::{self, Choice};
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
/// The packages are those of firmware.lock, as Cargo.lock has the crates. Debian's archive keeps
/// no old versions for ever: when not all of them can be had any more, or a board wants others,
/// the newest of the index are taken, and a warning says so. The lock itself changes only by
/// `update-lock`.
///
/// Downloads are kept below ~/.cache/peercam. PEERCAM_DEBIAN_MIRROR names another mirror;
/// with PEERCAM_OFFLINE set, only what is cached is used.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Build {
    #[command(flatten)]
    board: BoardArgument,
    /// Take the packages that firmware.lock names and no others; fail, and say which, when not
    /// all of them can be had
    #[arg(long)]
    locked: bool,
    /// Take the newest packages, not those of firmware.lock; bring the index up to date first
    #[arg(long, conflicts_with = "locked")]
    update: bool,
}

impl Build {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (workspace, board) = self.board.load()?;
        let choice = match (self.locked, self.update) {
            (true, _) => Choice::OnlyLock,
            (_, true) => Choice::Newest,
            _ => Choice::Lock,
        };
        let manifest = build::build(&workspace, &board, choice, &Progress::to_stderr())?;
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
