//! What the kernel said when it came to its end, where it can keep that over a reset (kernel:
//! `Documentation/ABI/testing/pstore`): a file for each panic, in a file system that is mounted
//! for it. They are read, kept on storage, and then removed, to make room for the next.

use std::{
    collections::BTreeMap,
    fs::{self, DirEntry},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc::sync_channel,
    time::Duration,
};

use crate::{
    keeper::{self, Keeper},
    log,
    record::MAX_DUMPS,
    writer,
};

/// The file beside the record with all of the newest dump.
pub const FILE_NAME: &str = "panic.txt";
/// Of a dump, so much is read, in bytes: more than the kernel keeps by default.
const MAX_SIZE: u64 = 64 * 1024;
/// How long storage may take to keep it. The hardware watchdog waits longer.
const PATIENCE: Duration = Duration::from_secs(3);
/// What the last line of a kernel begins with …
const PANIC: &str = "Kernel panic - not syncing: ";
/// … and, where that doesn't say it, one of the lines before it.
const CAUSES: [&str; 3] = ["Unable to handle kernel", "Internal error: ", "BUG: "];

/// What there is.
#[derive(Debug, Default)]
pub struct Dumps {
    folder: PathBuf,
    /// When each was written, in seconds after 1970, by name; of very many the newest.
    pub times: BTreeMap<String, u64>,
    /// All of the newest one, lossy where it is no text.
    text: String,
}

impl Dumps {
    /// Looks into the folder; there are none where there is no such folder.
    pub fn find(folder: PathBuf) -> Self {
        let dump = |entry: DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let time = keeper::modified(&entry.metadata().ok()?);
            name.starts_with("dmesg-").then_some((time, name))
        };
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut dumps: Vec<_> = entries.filter_map(dump).collect();
        dumps.sort_unstable_by(|one, other| other.cmp(one));
        dumps.truncate(MAX_DUMPS);
        // A long one can be in several files; its end is in one of them.
        let newest = dumps.iter().filter(|(time, _)| *time == dumps[0].0);
        let mut texts = newest.filter_map(|(_, name)| read(&folder.join(name)).ok());
        let first = texts.next().unwrap_or_default();
        let text = match words(&first) {
            Some(_) => first,
            None => texts.find(|text| words(text).is_some()).unwrap_or(first),
        };
        let times = dumps.into_iter().map(|(time, name)| (name, time)).collect();
        Self { folder, times, text }
    }

    /// What the kernel came to its end with; None where the newest doesn't say it.
    pub fn words(&self) -> Option<String> {
        words(&self.text)
    }

    /// Once the record is written: keeps the newest beside it, removes all, and has the record
    /// forget them. What can't be done is said, and left for the next start.
    pub fn take_over(self, keeper: &mut Keeper, state_dir: &Path, meanwhile: impl FnMut()) {
        let Self { folder, times, text } = self;
        let copy = state_dir.join(FILE_NAME);
        let place = copy.display().to_string();
        let moved = keeper.settle(PATIENCE, meanwhile).and_then(|()| {
            let (sender, result) = sync_channel(1);
            let work = move || -> io::Result<Vec<String>> {
                keeper::replace(&copy, &text)?;
                let names = times.into_keys();
                Ok(names.filter(|name| fs::remove_file(folder.join(name)).is_ok()).collect())
            };
            writer::spawn(move || drop(sender.send(work()))).map_err(|error| error.to_string())?;
            let moved = result.recv_timeout(PATIENCE);
            moved.map_err(|_| "the storage hangs".to_owned())?.map_err(|error| error.to_string())
        });
        match moved {
            Ok(removed) => {
                log::info(format_args!("what the kernel said at its end is in {place}"));
                keeper.note_now(|record| record.forget_dumps(&removed));
            }
            Err(problem) => log::warn(format_args!("{place}: not written: {problem}")),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_SIZE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last panic in a kernel's log, and what led to it.
fn words(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let says = |line: &&str| line.contains(PANIC);
    let last = lines.iter().rposition(says)?;
    let panic = lines[last].split_once(PANIC)?.1.trim();
    let cause = lines[..last].iter().rev().find_map(|line| {
        let start = CAUSES.iter().find_map(|cause| line.find(cause))?;
        Some(line[start..].trim())
    });
    Some(match cause {
        Some(cause) if panic.contains("Oops") || panic.contains("exception") => {
            format!("kernel panic: {panic}; {cause}")
        }
        _ => format!("kernel panic: {panic}"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::{fs::File, time::UNIX_EPOCH};

    use super::*;

    const OOPS: &str = "Panic#1 Part1\n\
        <6>[   12.000000] vivid: started\n\
        <1>[   34.500000] Unable to handle kernel NULL pointer dereference at address 10\n\
        <0>[   34.600000] Internal error: Oops: 0000000096000004 [#1] SMP\n\
        <4>[   34.700000] Call trace:\n\
        <0>[   34.800000] Kernel panic - not syncing: Oops: Fatal exception\n\
        <2>[   34.900000] SMP: stopping secondary CPUs\n";

    #[test]
    fn a_panic_is_told_with_what_led_to_it() {
        let said = "kernel panic: Oops: Fatal exception; Internal error: Oops: 0000000096000004 \
                    [#1] SMP";
        assert_eq!(words(OOPS).unwrap(), said);
        let plain = "<0>[ 9.1] Kernel panic - not syncing: sysrq triggered crash\n";
        assert_eq!(words(plain).unwrap(), "kernel panic: sysrq triggered crash");
        // An earlier oops that the kernel survived is not why.
        assert_eq!(words(&(OOPS.to_owned() + plain)).unwrap(), words(plain).unwrap());
        assert_eq!(words("<1>[ 3.0] BUG: and nothing more"), None);
    }

    #[test]
    fn dumps_are_told_apart_by_name_and_time_and_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let dumps = || Dumps::find(folder.path().to_owned());
        assert_eq!(dumps().times, BTreeMap::new());
        assert_eq!(Dumps::find(folder.path().join("not-mounted")).words(), None);
        let write = |name: &str, seconds, text: &[u8]| {
            fs::write(folder.path().join(name), text).unwrap();
            let file = File::options().append(true).open(folder.path().join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        write("dmesg-ramoops-0", 7, OOPS.as_bytes());
        write("console-ramoops-0", 8, b"");
        assert_eq!(dumps().times, BTreeMap::from([("dmesg-ramoops-0".to_owned(), 7)]));
        assert!(dumps().words().unwrap().contains("Fatal exception"));
        // Of a dump in several files the one with the end counts.
        write("dmesg-efi-1", 9, b"Kernel panic - not syncing: one\xff\n");
        write("dmesg-efi-2", 9, b"earlier\n");
        assert_eq!(dumps().words().unwrap(), "kernel panic: one\u{fffd}");
        for number in 0..100 {
            write(&format!("dmesg-efi-{number}"), 100 + number, &[b'x'; 100_000]);
        }
        let found = dumps();
        assert_eq!((found.times.len(), found.text.len() as u64), (MAX_DUMPS, MAX_SIZE));
        assert!(found.times.values().all(|time| *time >= 200 - MAX_DUMPS as u64), "{found:?}");
    }
}
