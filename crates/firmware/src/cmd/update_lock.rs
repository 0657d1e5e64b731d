//! `update-lock`: the packages that images are made of, chosen anew.

use clap::Args;
use peercam_firmware::board::Board;
use peercam_firmware::build;
use peercam_firmware::lock::{self, Lock};
use peercam_firmware::progress::Progress;

use super::{UsageError, workspace};

/// Choose the Debian packages of all boards anew, write firmware.lock, and print what changed
///
/// The newest packages of the archive are taken, for every board of the tree. Our programs are
/// compiled where they have to be: what they need is among the packages. With
/// PEERCAM_OFFLINE set, the package index is taken as it is in the cache.
#[derive(Debug, Args)]
pub struct UpdateLock {
    /// Print what would change, and leave the file as it is
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: a list of packages, each with the version before and after
    #[arg(long)]
    json: bool,
}

impl UpdateLock {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let workspace = workspace()?;
        let boards = Board::list(&workspace)?
            .into_iter()
            .map(|name| Board::load(&workspace, &name).map_err(|error| UsageError(error.into())))
            .collect::<Result<Vec<_>, _>>()?;
        let path = workspace.lock();
        // One that can't be read is no reason not to write a good one.
        let before = Lock::read(&path).unwrap_or_else(|error| {
            eprintln!("warning: {error}");
            None
        });
        let before = before.unwrap_or_else(|| Lock::new(lock::Packages::new()));
        let after = build::resolve(&workspace, &boards, &Progress::to_stderr())?;
        let changes = before.changes(&after);
        if !self.dry_run {
            after.write(&path)?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&changes)?);
        } else {
            print!("{}", lock::to_text(&changes));
        }
        let count = |added, removed| {
            let fits =
                |c: &&lock::Change| c.before.is_none() == added && c.after.is_none() == removed;
            changes.iter().filter(fits).count()
        };
        eprintln!(
            "{}: {} packages; {} added, {} removed, {} changed{}",
            lock::FILE,
            after.len(),
            count(true, false),
            count(false, true),
            count(false, false),
            if self.dry_run { " (not written: --dry-run)" } else { "" }
        );
        let older = changes.iter().filter(|change| change.is_to_older()).count();
        if older > 0 {
            eprintln!(
                "warning: {older} of them to an older version: a part of the archive may have been \
                 left out (see above); its updates for security are not to be lost by that"
            );
        }
        Ok(())
    }
}
