//! Lets go of memory that only the start needed: most of the program and of the C library is code
//! that reads a configuration and begins things, and stays mapped though it is never run again.

use std::{
    ffi::c_void,
    fs::File,
    io::{BufRead, BufReader},
    ptr::NonNull,
};

use nix::sys::mman::{MmapAdvise, madvise};

/// The kernel's list of what this process has mapped (`proc_pid_smaps(5)`).
const MAPPINGS: &str = "/proc/self/smaps";

/// Unmaps pages of this program's files that are as they are in the files. They stay in the page
/// cache, and those that are used again are mapped again.
pub(crate) fn release() {
    // A kernel without that list keeps them.
    let Ok(mappings) = File::open(MAPPINGS) else { return };
    for Range { start, end } in unchanged(BufReader::new(mappings)) {
        let Some(address) = NonNull::new(start as *mut c_void) else { continue };
        // SAFETY: this range is one whole mapping of this process, private, of a file, without the
        // right to write, and no page of it, in memory or in swap, differs from the file. So the
        // next access to one that is let go of finds what was there before. Nobody changes that
        // in between: this program maps no files, loads no libraries and changes no protections
        // once it runs; the loader did, before `main`. A refusal changes nothing.
        let _ = unsafe { madvise(address, end - start, MmapAdvise::MADV_DONTNEED) };
    }
}

/// Addresses of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: usize,
    end: usize,
}

/// The private, read-only mappings of files in which nothing differs from the file.
fn unchanged(mappings: impl BufRead) -> Vec<Range> {
    let mut found = Vec::new();
    let (mut candidate, mut anonymous) = (None, None);
    for line in mappings.lines().map_while(Result::ok) {
        match line.split_once(':') {
            Some(("Anonymous", value)) => anonymous = Some(is_zero(value)),
            // Stands after `Anonymous`; a mapping without both is left alone.
            Some(("Swap", value)) => {
                let unchanged = anonymous == Some(true) && is_zero(value);
                found.extend(candidate.take().filter(|_| unchanged));
            }
            _ => {
                if let Some(mapping) = header(&line) {
                    (candidate, anonymous) = (mapping, None);
                }
            }
        }
    }
    found
}

fn is_zero(value: &str) -> bool {
    value.split_ascii_whitespace().eq(["0", "kB"])
}

/// The first line about a mapping, `start-end rights offset device inode path`; its addresses if
/// it is private, read-only and of a file. None for other lines.
fn header(line: &str) -> Option<Option<Range>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let range = Range { start: address(start)?, end: address(end)? };
    let rights = fields.next()?;
    let path = fields.nth(3).unwrap_or_default();
    Some(Some(range).filter(|_| ["r-xp", "r--p"].contains(&rights) && path.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(header: &str, anonymous: u32, swap: u32) -> String {
        format!(
            "{header}\nSize:   8 kB\nRss:   4 kB\nAnonymous:      {anonymous} kB\n\
             AnonHugePages:  0 kB\nSwap:   {swap} kB\nSwapPss:  0 kB\nVmFlags: rd ex mr mw me\n"
        )
    }

    #[test]
    fn only_what_is_as_in_its_file_is_let_go_of() {
        let text = [
            mapping("1000-3000 r-xp 00001000 08:01 77     /usr/bin/peercam-watchdog", 0, 0),
            mapping("3000-4000 r--p 00003000 08:01 77     /usr/bin/peercam-watchdog", 4, 0),
            mapping("4000-5000 r--p 00004000 08:01 77     /usr/bin/peercam-watchdog", 0, 4),
            mapping("5000-6000 rw-p 00005000 08:01 77     /usr/bin/peercam-watchdog", 0, 0),
            mapping("6000-7000 r--s 00000000 08:01 78     /usr/lib/shared", 0, 0),
            mapping("7000-8000 r--p 00000000 00:00 0 ", 0, 0),
            mapping("8000-9000 r-xp 00000000 00:00 0      [vdso]", 0, 0),
            mapping("ffff0000-ffff8000 r--p 00000000 08:01 79 /usr/lib/libc 6 (deleted)", 0, 0),
        ];
        let [first, last] =
            [(0x1000, 0x3000), (0xffff_0000, 0xffff_8000)].map(|(start, end)| Range { start, end });
        assert_eq!(unchanged(text.concat().as_bytes()), [first, last]);
        let older = text[0].replace("Anonymous", "Unknown") + &text[1].replace("Swap:", "No:");
        assert_eq!(unchanged(older.as_bytes()), []);
    }

    #[test]
    fn this_process_runs_on_without_it() {
        assert_ne!(unchanged(BufReader::new(File::open(MAPPINGS).unwrap())), []);
        for _ in 0..3 {
            release();
            assert_eq!(format!("{:?}", [1.5, 2.5]), "[1.5, 2.5]");
        }
    }
}
