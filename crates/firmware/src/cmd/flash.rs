//! `flash`: an image to a disk or a file.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use peercam_firmware::flash::disk::Kernel;
use peercam_firmware::flash::interrupt::Interrupt;
use peercam_firmware::flash::target::{Allowed, Kind, Refusal, Target};
use peercam_firmware::flash::write::{Stage, Written, check, write};
use peercam_firmware::flash::{Error, Image};
use peercam_firmware::progress::{Progress, Step};
use peercam_firmware::size::Size;
use serde::Serialize;

use super::{BoardArgument, UsageError};

/// Write an image to a disk (an SD card, a USB stick) or a file, and read it back
///
/// Shows the disk and what is on it, and asks before anything is written. Refused are disks
/// that are mounted or in use otherwise, the one this computer runs from, and such as are
/// too small, read-only or, without the option for it, not removable.
///
/// The partition table is written last, after all else has been read back from the disk and
/// found to be the image: broken off before, the disk boots nothing, and is written again.
/// A disk larger than the image keeps what lies behind it; the camera lets /data grow into
/// it at its first boot.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    group(clap::ArgGroup::new("what").required(true).args(["board", "image"])),
    after_help = "Examples:\n  \
        lsblk -o NAME,SIZE,VENDOR,MODEL,RM,MOUNTPOINTS          # which disk is it?\n  \
        sudo peercam-firmware flash --board qemu-aarch64 /dev/sdX\n  \
        peercam-firmware flash --image peercam-qemu-aarch64.img card.img\n\n\
        With --json, standard output is one object: `outcome` (verified, refused, declined,\n\
        failed, mismatch, interrupted), `image`, `target` with its `refusals`, what was\n\
        written, and the `error` in words.\n\n\
        Exit status: 0 written and read back; 1 failed; 2 wrong usage; 3 refused or declined,\n\
        nothing was written; 4 what was read back is not what was written; 128 and the\n\
        signal's number (130 for Ctrl-C) when interrupted. After 1, 4 and an interruption\n\
        nothing boots from what was begun."
)]
pub struct Flash {
    /// The image that `build` made of this board
    #[arg(long, value_name = "NAME")]
    board: Option<String>,
    /// An image by its path; compared with the manifest.json beside it, if it has one
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The disk (not a partition of it), or a file, made if there is none
    #[arg(value_name = "DEVICE|FILE")]
    target: PathBuf,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Also to a disk that is not removable, which may be one of this computer's own. Not to
    /// the one it runs from, nor to one in use
    #[arg(long)]
    dangerously_write_fixed_disk: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    outcome: &'a str,
    image: Option<&'a Image>,
    target: Option<&'a Target>,
    #[serde(flatten)]
    written: Option<Written>,
    seconds: f64,
    error: Option<String>,
}

/// What is known by the time it ends.
#[derive(Debug, Default)]
struct Known {
    image: Option<Image>,
    target: Option<Target>,
}

/// A person did not say yes.
#[derive(Debug, thiserror::Error)]
#[error("nothing was written")]
pub struct Declined;

impl Flash {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut known = Known::default();
        let result = self.work(&mut known);
        if !self.json || result.as_ref().is_err_and(|error| error.is::<UsageError>()) {
            return result.map(|_| ());
        }
        let outcome = match &result {
            Ok(_) => "verified",
            Err(error) if error.is::<Declined>() => "declined",
            Err(error) => error.downcast_ref().map_or("failed", Error::outcome),
        };
        let report = Report {
            outcome,
            image: known.image.as_ref(),
            target: known.target.as_ref(),
            written: result.as_ref().ok().cloned(),
            seconds: started.elapsed().as_secs_f64(),
            error: result.as_ref().err().map(super::sentence),
        };
        println!("{}", serde_json::to_string_pretty(&report)?);
        result.map(|_| ())
    }

    fn work(&self, known: &mut Known) -> anyhow::Result<Written> {
        let image = known.image.insert(self.find_image()?);
        let allowed = Allowed { fixed_disk: self.dangerously_write_fixed_disk };
        let found = Target::examine(&Kernel::running(), &self.target, image, allowed)?;
        let target = known.target.insert(found);
        let progress = Progress::to_stderr();
        describe(&progress, image, target);
        let claimed = target.claim()?;
        if target.kind != Kind::NewFile && !self.yes {
            ask(target)?;
        }
        // Not earlier: while the question waits, Ctrl-C simply ends.
        let interrupt = Interrupt::watch().context("signals can't be watched")?;
        let mut meter = Meter::new(progress);
        let sha256 =
            check(image, &interrupt, &mut |stage, done, all| meter.show(stage, done, all))?;
        let written = write(image, &sha256, claimed, &interrupt, &mut |stage, done, all| {
            meter.show(stage, done, all);
        })?;
        meter.end();
        Ok(written)
    }

    fn find_image(&self) -> anyhow::Result<Image> {
        if let Some(path) = &self.image {
            return Ok(Image::of_file(path)?);
        }
        let name = self.board.clone().unwrap_or_default();
        let (workspace, board) = BoardArgument { board: name }.load()?;
        Ok(Image::of_board(&workspace, &board.name)?)
    }
}

/// What is written, where, and what is lost by it.
fn describe(progress: &Progress, image: &Image, target: &Target) {
    let manifest = if image.sha256.is_some() { "" } else { ", no manifest beside it" };
    progress.note(&format!("image: {} ({}{manifest})", image.path.display(), image.size()));
    let path = target.path.display();
    match &target.kind {
        Kind::Disk(disk) => progress.note(&format!("disk:  {path} ({})", disk.words())),
        Kind::File { bytes } => {
            progress.note(&format!("file:  {path} ({})", Size::bytes(*bytes)));
        }
        Kind::NewFile => return progress.note(&format!("file:  {path} (new)")),
    }
    progress.note(&format!("on it: {}", target.contents));
}

/// Asks on the terminal. Where there is none, nobody can say yes.
fn ask(target: &Target) -> anyhow::Result<()> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        let message = format!(
            "{} would be overwritten, and there is no terminal to ask on: --yes says that it may",
            target.path.display()
        );
        return Err(Error::Refused(vec![Refusal { reason: "not-confirmed", message }]).into());
    }
    eprint!("  Overwrite {}? What is on it is lost. Type yes: ", target.path.display());
    std::io::stderr().flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Declined.into()) }
}

/// Turns what the library tells into the house's steps, with speed and the time that is left.
struct Meter {
    progress: Progress,
    current: Option<(Stage, Step, Instant)>,
    shown: Option<Instant>,
    all: u64,
}

impl Meter {
    fn new(progress: Progress) -> Self {
        Self { progress, current: None, shown: None, all: 0 }
    }

    fn show(&mut self, stage: Stage, done: u64, all: u64) {
        if self.current.as_ref().is_none_or(|(current, ..)| *current != stage) {
            self.end();
            let name = match stage {
                Stage::Check => "check the image",
                Stage::Write => "write",
                Stage::Verify => "read back",
                Stage::Finish => "write the partition table",
            };
            self.current = Some((stage, self.progress.step(name), Instant::now()));
            self.shown = None;
        }
        self.all = all;
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= Duration::from_millis(200));
        if let Some((_, step, started)) = self.current.as_ref().filter(|_| due) {
            step.detail(&pace(done, all, started.elapsed()));
            self.shown = Some(Instant::now());
        }
    }

    /// Ends the step under way well.
    fn end(&mut self) {
        let Some((stage, step, started)) = self.current.take() else { return };
        match stage {
            Stage::Finish => step.done(""),
            Stage::Check | Stage::Write | Stage::Verify => {
                step.done(&format!(
                    "{}{}",
                    Size::bytes(self.all),
                    speed(self.all, started.elapsed())
                ));
            }
        }
    }
}

/// `45 %, 121.6 of 269.5 MB, 23.1 MB/s, 6 s left`.
fn pace(done: u64, all: u64, elapsed: Duration) -> String {
    let percent = u128::from(done) * 100 / u128::from(all.max(1));
    let mut text = format!(
        "{percent} %, {} of {}{}",
        Size::bytes(done),
        Size::bytes(all),
        speed(done, elapsed)
    );
    if done > 0 && elapsed > Duration::from_secs(2) {
        let left = elapsed.as_secs_f64() * (all.saturating_sub(done)) as f64 / done as f64;
        text.push_str(&format!(", {left:.0} s left"));
    }
    text
}

fn speed(done: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    // Before that it says nothing about the disk.
    if seconds < 0.2 {
        return String::new();
    }
    format!(", {}/s", Size::bytes((done as f64 / seconds) as u64))
}
