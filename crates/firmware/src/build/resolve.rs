//! Which packages a build takes: those of `firmware.lock`, or the newest of the index; and which
//! ones a new lock has.

use std::collections::BTreeMap;

use super::binaries::{self, Compiled};
use super::{Choice, Context, Error, initramfs, kernel, root};
use crate::board::Board;
use crate::debian::{Archive, Pool, Record};
use crate::licences;
use crate::lock::{self, Lock};
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// How many packages a warning names.
const NAMED: usize = 8;

impl Context<'_> {
    /// Makes the image with the packages that `choice` means.
    pub(super) fn image(
        &self,
        archive: &mut Archive,
        compiled: &Compiled,
        lock: Option<&Lock>,
        choice: Choice,
    ) -> Result<Manifest, Error> {
        if choice == Choice::Newest && !archive.is_offline() {
            archive.refresh(self.progress)?;
        }
        self.choose(archive, lock, choice)?;
        let mut refreshed = false;
        let manifest = loop {
            match self.parts(archive, compiled) {
                // The mirror no longer has what our index names.
                Err(Error::Package(error)) if error.may_be_stale() && !refreshed => {
                    self.progress.note(&error.to_string());
                    archive.refresh(self.progress)?;
                    refreshed = true;
                    self.choose(archive, lock, choice)?;
                }
                Err(error) if archive.is_held() && error.wants_other_packages() => {
                    if choice == Choice::OnlyLock {
                        return Err(Error::NotInLock { source: Box::new(error) });
                    }
                    self.progress.note(&format!(
                        "warning: {} does not do for this board: {error}; taking the newest \
                         packages of the index",
                        lock::FILE
                    ));
                    archive.let_go();
                }
                other => break other?,
            }
        };
        if let Some(lock) = lock.filter(|_| !archive.is_held()) {
            self.warn_of_others(&lock.others_in(&manifest));
        }
        Ok(manifest)
    }

    /// Holds the archive to the lock, where that is meant and can be.
    fn choose(
        &self,
        archive: &mut Archive,
        lock: Option<&Lock>,
        choice: Choice,
    ) -> Result<(), Error> {
        archive.let_go();
        let (suite, architecture) = (archive.suite(), archive.architecture().debian());
        let packages = lock.and_then(|lock| lock.packages(suite, architecture));
        let packages = match (choice, packages) {
            (Choice::Newest, _) | (Choice::Lock, None) => return Ok(()),
            (Choice::OnlyLock, None) => {
                return Err(Error::NoLock { suite: suite.to_owned(), architecture });
            }
            (Choice::Lock | Choice::OnlyLock, Some(packages)) => packages,
        };
        let mut gone = archive.gone(packages)?;
        if !gone.is_empty() && choice == Choice::OnlyLock && !archive.is_offline() {
            // An older index may be what hides them, or that of another mirror.
            archive.refresh(self.progress)?;
            gone = archive.gone(packages)?;
        }
        if gone.is_empty() {
            archive.hold_to(packages);
            return Ok(());
        }
        if choice == Choice::OnlyLock {
            return Err(Error::Gone { cache: archive.debs(), packages: gone });
        }
        let gone = gone.iter().map(|package| format!("{} {}", package.name, package.version));
        self.progress.note(&format!(
            "warning: the archive no longer has all packages of {} ({}): taking the newest of the \
             index",
            lock::FILE,
            some_of(&gone.collect::<Vec<_>>())
        ));
        Ok(())
    }

    fn warn_of_others(&self, others: &[String]) {
        if !others.is_empty() {
            self.progress.note(&format!(
                "warning: not the packages of {} (in brackets): {}; `peercam-firmware update-lock` \
                 takes them over, `build --locked` takes no others",
                lock::FILE,
                some_of(others)
            ));
        }
    }
}

fn some_of(names: &[String]) -> String {
    let some = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

/// Resolves the packages of all these boards anew, from an index that is brought up to date
/// first (with `PEERCAM_OFFLINE`, from the one in the cache). Our programs are compiled where they
/// have to be: what they need is among the packages.
///
/// # Errors
/// [`Error`], which names the package, file or program.
pub fn resolve(
    workspace: &Workspace,
    boards: &[Board],
    progress: &Progress,
) -> Result<Lock, Error> {
    let mut packages = lock::Packages::new();
    for board in boards {
        let context = Context::new(workspace, board, progress)?;
        let compiled = binaries::build(&context)?;
        let suite = &board.debian.suite;
        let archive = Archive::open(workspace.cache(), suite, board.architecture, progress)?;
        let key = (suite.clone(), board.architecture.debian().to_owned());
        if !packages.contains_key(&key) && !archive.is_offline() {
            archive.refresh(progress)?;
        }
        packages.entry(key).or_default().extend(context.packages(&archive, &compiled)?);
    }
    Ok(Lock::new(packages))
}

impl Context<'_> {
    /// All that the steps bring into their pools, and what `licences` needs beside it.
    fn packages(
        &self,
        archive: &Archive,
        compiled: &Compiled,
    ) -> Result<BTreeMap<String, Record>, Error> {
        let board = self.board;
        let step = self.progress.step(&format!("packages of {}", board.name));
        let mut records = BTreeMap::new();
        let mut add = |bring: &dyn Fn(&mut Pool<'_>) -> Result<(), Error>| {
            let mut pool = Pool::new(archive, &step);
            pool.require(&board.debian.packages, "debian.packages")?;
            bring(&mut pool)?;
            let own = licences::beside(pool.packages().values())?.into_iter().collect::<Vec<_>>();
            pool.require(&own, "the licences of others")?;
            let own = pool.packages().iter().map(|(name, p)| (name.clone(), p.record.clone()));
            records.extend(own);
            Ok::<(), Error>(())
        };
        add(&|pool| kernel::Kernel::find(board, pool).map(drop))?;
        add(&|pool| initramfs::bring(board, pool).map(drop))?;
        add(&|pool| root::bring(board, pool, &compiled.paths).map(drop))?;
        step.done(&format!("{} packages", records.len()));
        Ok(records)
    }
}
