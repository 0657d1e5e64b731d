//! A board's image in QEMU, and the root shell that development boards have on their serial
//! console.

use std::{process::Command, time::Duration};

use peercam_protocol::RoomId;

use crate::{
    Bed, Process, Rendezvous,
    error::{Error, Result},
    programs,
    wait::{self, Look},
};

/// The boards that QEMU can boot, by name, in order.
pub fn boards() -> Result<Vec<String>> {
    let folder = programs::repository().join("board");
    let entries =
        std::fs::read_dir(&folder).map_err(Error::io(format!("listing {}", folder.display())))?;
    let mut names: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().join("board.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("qemu-"))
        .collect();
    names.sort();
    Ok(names)
}

/// A running guest.
#[derive(Debug)]
pub struct Guest {
    machine: Process,
    /// How many commands its shell was given.
    commands: u32,
}

impl Guest {
    /// Boots the image of `board` with a camera that goes to `room`. It may still be on its way
    /// there: see [`Rendezvous::wait_online`].
    pub fn start(bed: &Bed, rendezvous: &Rendezvous, board: &str, room: &RoomId) -> Result<Self> {
        let _ = (bed, rendezvous, room, Command::new("x"));
        Err(Error::Guest(format!("{board} cannot be booted yet")))
    }

    /// Fails if QEMU has ended.
    pub fn check(&mut self) -> Result<()> {
        self.machine.check()
    }

    /// All that its console printed.
    pub fn output(&self) -> String {
        self.machine.output()
    }

    /// Waits until the console has printed `text`.
    pub async fn wait_for_output(&mut self, text: &str, deadline: Duration) -> Result<()> {
        self.machine
            .wait_for_output(&format!("{text:?}"), 0, deadline, |output| {
                output.contains(text).then_some(())
            })
            .await
    }

    /// Runs a command line in the guest's root shell and returns what it printed; an error if
    /// its exit code is not 0.
    pub async fn run(&mut self, command: &str) -> Result<String> {
        match self.try_run(command).await? {
            (0, output) => Ok(output),
            (code, output) => Err(Error::Command { command: command.to_owned(), code, output }),
        }
    }

    /// Runs a command line in the guest's root shell: its exit code, and what it printed.
    pub async fn try_run(&mut self, command: &str) -> Result<(i32, String)> {
        self.commands += 1;
        let number = self.commands;
        let from = self.machine.output().len();
        // What is typed is echoed: the marks are split in two there, and whole only when the
        // shell has joined them.
        self.machine.type_in(&format!(
            "printf '\\n<%s>\\n' 'begin'{number}; {command}\nprintf '\\n<%s %d>\\n' 'end'{number} $?\n"
        ))?;
        let (begin, end) = (format!("<begin{number}>"), format!("<end{number} "));
        let finished = |output: &str| {
            let (_, output) = output.split_once(&begin)?;
            let (output, rest) = output.split_once(&end)?;
            let (code, _) = rest.split_once('>')?;
            Some((code.parse().ok()?, output.replace('\r', "").trim().to_owned()))
        };
        self.machine
            .wait_for_output(&format!("the end of {command:?}"), from, COMMAND, finished)
            .await
    }

    /// Waits until the shell answers.
    pub async fn wait_for_shell(&mut self, deadline: Duration) -> Result<()> {
        wait::until("the guest's shell", deadline, async || {
            let from = self.machine.output().len();
            self.machine.type_in("\necho ready$((40 + 2))\n")?;
            let answer = self
                .machine
                .wait_for_output("ready42", from, Duration::from_secs(2), |output| {
                    output.contains("ready42").then_some(())
                })
                .await;
            match answer {
                Ok(()) => Ok(Look::Done(())),
                Err(Error::TimedOut { last, .. }) => Ok(Look::NotYet(last)),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Switches it off, as a power cut does.
    pub async fn stop(self) -> Result<()> {
        self.machine.stop(Duration::from_secs(5)).await.map(|_| ())
    }
}

/// How long a command in the shell may take: the machine is emulated, the host busy.
const COMMAND: Duration = Duration::from_secs(60);
