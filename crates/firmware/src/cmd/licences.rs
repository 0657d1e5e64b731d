//! `licences`: what has to be shipped with an image as a text.

use clap::Args;
use peercam_firmware::crates::Sources;
use peercam_firmware::debian::{Archive, Pool};
use peercam_firmware::licences::{self, Packages};
use peercam_firmware::lock::Lock;
use peercam_firmware::progress::Progress;

use super::{BoardArgument, manifest};

/// Print the licences of all that is in a board's image
///
/// The copyright file of each Debian package with the licences that it names, those of Rust's
/// standard library, the licence files of each crate; the same text of several stands there once.
#[derive(Debug, Args)]
pub struct Licences {
    #[command(flatten)]
    board: BoardArgument,
}

impl Licences {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (workspace, board) = self.board.load()?;
        let manifest = manifest(&workspace, &board.name)?;
        let programs = manifest.programs()?;
        let (suite, architecture) = (&manifest.suite, board.architecture);
        let unpacked = Archive::unpacked_in(workspace.cache(), suite, architecture);
        let packages = Packages::new(&manifest, unpacked);
        let lacking: Vec<String> = packages.lacking()?.into_iter().collect();
        if !lacking.is_empty() {
            let progress = Progress::to_stderr();
            let mut archive = Archive::open(workspace.cache(), suite, architecture, &progress)?;
            // What a package points to has to be of its own version.
            if let Some(lock) = Lock::read(&workspace.lock())?
                && lock.others_in(&manifest).is_empty()
                && let Some(packages) = lock.packages(suite, architecture.debian())
            {
                archive.hold_to(packages);
            }
            let step = progress.step("licences");
            Pool::new(&archive, &step).require(&lacking, "the licences of others")?;
            step.done(&lacking.join(" "));
        }
        let mut notices = packages.notices()?;
        let copyright = workspace.standard_library_copyright(&board.name);
        notices.push(licences::of_standard_library(&programs.standard_library, &copyright)?);
        let sources = Sources::find(workspace.root(), &board.target)?;
        notices.extend(licences::of_crates(workspace.root(), &programs.crates, &sources)?);
        print!("{}", licences::to_text(&board.name, &notices));
        Ok(())
    }
}
