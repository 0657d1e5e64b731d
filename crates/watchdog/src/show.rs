//! The log for people and programs: reads what [`crate::ring`] writes, while it is written.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    thread::sleep,
    time::Duration,
};

use crate::{
    lines::make_harmless,
    ring::{FILE_NAME, OLD_FILE_NAME},
    status::write_string,
};

/// How often is looked for more.
const PAUSE: Duration = Duration::from_millis(250);
/// How often is looked for files that are being changed.
const TRIES: u32 = 10;
/// A line with more is none of ours.
const MAX_LINE: u64 = 64 * 1024;

/// What of the log is wanted, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only what this service printed, and what the watchdog says about it.
    pub service: Option<String>,
    /// Each line as an object of JSON (RFC 8259).
    pub json: bool,
    /// Goes on with what comes.
    pub follow: bool,
}

/// Writes what `folder` holds to `output`; with `follow`, until `output` takes no more.
///
/// # Errors
///
/// Where there is no log, or nobody to show it to.
pub fn show(folder: &Path, wanted: &Selection, output: &mut impl Write) -> io::Result<()> {
    let (old, newest) = open(folder)?;
    if let Some(old) = old {
        copy(&mut BufReader::new(old), wanted, output)?;
    }
    let path = folder.join(FILE_NAME);
    let mut file = BufReader::new(newest);
    loop {
        copy(&mut file, wanted, output)?;
        output.flush()?;
        if !wanted.follow {
            return Ok(());
        }
        sleep(PAUSE);
        let Ok(newest) = File::open(&path) else { continue };
        if !is_same(&newest, file.get_ref())? {
            // What was written until its name was taken.
            copy(&mut file, wanted, output)?;
            file = BufReader::new(newest);
        }
    }
}

/// The file before, if there is one, and the current one, at the same moment: the watchdog may be
/// about to change them.
fn open(folder: &Path) -> io::Result<(Option<File>, File)> {
    let mut tries = 0..TRIES;
    loop {
        let newest = File::open(folder.join(FILE_NAME));
        let old = File::open(folder.join(OLD_FILE_NAME)).ok();
        let is_last = tries.next().is_none();
        match (old, newest) {
            (Some(old), Ok(newest)) if !is_last && is_same(&old, &newest)? => {}
            // It has its new name, and the next one isn't there yet.
            (Some(_), Err(error)) if !is_last && error.kind() == io::ErrorKind::NotFound => {}
            (old, newest) => return Ok((old, newest?)),
        }
        sleep(PAUSE / TRIES);
    }
}

fn is_same(one: &File, other: &File) -> io::Result<bool> {
    Ok(one.metadata()?.ino() == other.metadata()?.ino())
}

/// As far as there is something, by whole lines: they are written at once.
fn copy(file: &mut BufReader<File>, wanted: &Selection, output: &mut impl Write) -> io::Result<()> {
    let (mut bytes, mut line) = (Vec::new(), String::new());
    loop {
        bytes.clear();
        line.clear();
        if file.take(MAX_LINE).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        // Storage that lost power gives back anything.
        make_harmless(&bytes, &mut line);
        let entry = Entry::parse(&line);
        let matches = match (&wanted.service, &entry) {
            (None, _) => true,
            (Some(name), Some(entry)) => entry.is_about(name),
            (Some(_), None) => false,
        };
        match entry {
            _ if !matches => {}
            Some(entry) if wanted.json => {
                let mut text = entry.json();
                text.push('\n');
                output.write_all(text.as_bytes())?;
            }
            None if wanted.json => {}
            _ => {
                line.push('\n');
                output.write_all(line.as_bytes())?;
            }
        }
    }
}

/// A line as [`crate::log`] describes it.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    seconds: &'a str,
    /// `service`, or `level` where the watchdog speaks.
    key: &'static str,
    value: &'a str,
    text: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (time, rest) = line.strip_prefix('[')?.split_once("] ")?;
        let seconds = time.trim_start();
        let (whole, part) = seconds.split_once('.')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(part) {
            return None;
        }
        let (word, text) = rest.split_once(' ')?;
        Some(match word.strip_suffix(':') {
            Some(service) => Self { seconds, key: "service", value: service, text },
            None => Self { seconds, key: "level", value: word, text: text.trim_start() },
        })
    }

    fn is_about(&self, name: &str) -> bool {
        let said = self.key == "service" && self.value == name;
        let told = || self.text.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
        said || self.key == "level" && told()
    }

    fn json(&self) -> String {
        let Self { seconds, key, value, text } = self;
        let mut json = format!("{{\"seconds\":{seconds},\"{key}\":");
        write_string(value, &mut json);
        json.push_str(",\"text\":");
        write_string(text, &mut json);
        json.push('}');
        json
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_speaks() {
        let own = Entry::parse("[    1.250] warn  agent: no heartbeat").unwrap();
        assert_eq!(own.json(), r#"{"seconds":1.250,"level":"warn","text":"agent: no heartbeat"}"#);
        assert!(own.is_about("agent") && !own.is_about("age") && !own.is_about("warn"));
        let printed = Entry::parse("[12345.000] agent: other: \"x\"").unwrap();
        let json = r#"{"seconds":12345.000,"service":"agent","text":"other: \"x\""}"#;
        assert_eq!(printed.json(), json);
        assert!(printed.is_about("agent") && !printed.is_about("other"));
        for nonsense in ["", "x", "[1.0]", "[] warn x", "[1.x] warn x", "[.] warn x", "[1.0] warn"]
        {
            assert_eq!(Entry::parse(nonsense), None, "{nonsense}");
        }
    }
}
