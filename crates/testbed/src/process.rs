//! A program that runs beside us and ends with us.
//!
//! Each program leads a process group of its own, so that a terminal's Ctrl-C reaches only us and
//! we decide the order in which things stop. So that nothing is left when *we* die without a
//! word (SIGKILL), each group has a leash: a small shell that waits at a pipe only we hold open,
//! and kills the group when the pipe closes. The parent-death signal of prctl(2) would reach the
//! program itself only, not the browser behind a chromedriver.

use std::{
    fs::File,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::{
    bed,
    error::{Error, Result},
    wait::{self, Look},
};

/// Waits at standard input, then kills the process group whose id is its first argument.
const LEASH: &str = r#"read -r _; kill -s KILL -- "-$1" 2>/dev/null"#;

/// A running program; dropping it kills its whole process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    leash: Child,
}

impl Process {
    /// Starts `command`; what it prints, on either stream, is appended to the file `log`. Its
    /// standard input is a pipe (see [`Process::type_in`]).
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::io(format!("opening {}", log.display())))?;
        let copy = file.try_clone().map_err(Error::io(format!("opening {}", log.display())))?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(copy)
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("starting {program}")))?;
        let leash = Command::new("/bin/sh")
            .args(["-c", LEASH, "leash", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match leash {
            Ok(leash) => Ok(Self { name: name.to_owned(), log: log.to_owned(), child, leash }),
            Err(source) => {
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                Err(Error::Io { what: "starting /bin/sh".to_owned(), source })
            }
        }
    }

    /// What the program is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is also its group's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All that it printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Fails if the program has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait().map_err(Error::io(format!("looking at {}", self.name)))? {
            None => Ok(()),
            Some(status) => Err(Error::Ended {
                name: self.name.clone(),
                status,
                log: self.log.clone(),
                tail: bed::tail(&self.log, 15),
            }),
        }
    }

    /// Waits until `find` finds something in the output from byte `from` on; fails at once if
    /// the program ends.
    pub async fn wait_for_output<T>(
        &mut self,
        what: &str,
        from: usize,
        deadline: Duration,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let what = format!("{} to print {what}", self.name);
        wait::until(&what, deadline, async || {
            let output = self.output();
            // `get`: the file's bytes may not be text, `from` then falls inside a replacement.
            if let Some(found) = find(output.get(from..).unwrap_or_default()) {
                return Ok(Look::Done(found));
            }
            self.check()?;
            Ok(Look::NotYet(format!("its last lines:\n{}", bed::tail(&self.log, 5))))
        })
        .await
    }

    /// Writes to the program's standard input.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        let name = &self.name;
        let input = self.child.stdin.as_mut();
        let input = input.ok_or_else(|| Error::Answer {
            what: format!("standard input of {name}"),
            answer: "closed".to_owned(),
        })?;
        input
            .write_all(text.as_bytes())
            .and_then(|()| input.flush())
            .map_err(Error::io(format!("typing into {name}")))
    }

    /// Sends a signal to the program itself (not to its group).
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        signal::kill(pid, signal)
            .map_err(|errno| Error::io(format!("{signal} to {}", self.name))(errno.into()))
    }

    /// Asks the program to end (SIGTERM) and waits; after `grace` its group is killed. Returns
    /// how it ended.
    pub async fn stop(mut self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let start = Instant::now();
        let what = format!("stopping {}", self.name);
        loop {
            if let Some(status) = self.child.try_wait().map_err(Error::io(what.clone()))? {
                return Ok(status);
            }
            if start.elapsed() > grace {
                self.kill();
                return self.child.wait().map_err(Error::io(what));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the program and everything in its group (SIGKILL), and waits for it.
    pub fn kill(&mut self) {
        // The leash does it, while the program is still unreaped: so its id can't have gone to
        // anyone else.
        drop(self.leash.stdin.take());
        let _ = self.leash.wait();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bed;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    /// Whether the process runs (a zombie doesn't).
    fn runs(pid: u32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn child_of(process: &mut Process) -> u32 {
        process
            .wait_for_output("its child's id", 0, Duration::from_secs(10), |output| {
                output.lines().find_map(|line| line.strip_prefix("child ")?.parse().ok())
            })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_dropped_process_takes_its_children_with_it() {
        let bed = Bed::new("process").unwrap();
        let script = "sleep 1000 & echo child $!; wait";
        let mut process = Process::spawn("sh", shell(script), &bed.file("sh.log")).unwrap();
        let child = child_of(&mut process).await;
        assert!(runs(child));
        drop(process);
        wait::until("the child to end", Duration::from_secs(10), async || {
            Ok(if runs(child) { Look::NotYet("it runs".to_owned()) } else { Look::Done(()) })
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_process_that_ends_is_reported_with_its_last_words() {
        let bed = Bed::new("process").unwrap();
        let log = bed.file("sh.log");
        let mut process =
            Process::spawn("the shell", shell("echo out of paper; exit 3"), &log).unwrap();
        let error = process
            .wait_for_output("a line that never comes", 0, Duration::from_secs(10), |_| None::<()>)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("the shell ended (exit status: 3)"), "{error}");
        assert!(error.contains("out of paper"), "{error}");
    }

    #[tokio::test]
    async fn what_is_typed_in_arrives_and_stopping_is_polite_first() {
        let bed = Bed::new("process").unwrap();
        let script =
            "trap 'exit 7' TERM; read -r line; echo heard $line; while :; do sleep 0.1; done";
        let mut process = Process::spawn("sh", shell(script), &bed.file("sh.log")).unwrap();
        process.type_in("hello\n").unwrap();
        process
            .wait_for_output("heard hello", 0, Duration::from_secs(10), |output| {
                output.contains("heard hello").then_some(())
            })
            .await
            .unwrap();
        assert_eq!(process.stop(Duration::from_secs(10)).await.unwrap().code(), Some(7));
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let bed = Bed::new("process").unwrap();
        let missing = Command::new("/no/such/program");
        let error = Process::spawn("x", missing, &bed.file("x.log")).unwrap_err().to_string();
        assert!(error.contains("/no/such/program"), "{error}");
    }
}
