//! A board's image in QEMU, and the root shell that development boards have on their serial
//! console.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use peercam_firmware::{board::Board, qemu, workspace::Workspace};
use peercam_protocol::RoomId;

use crate::{
    Bed, Process, Rendezvous,
    error::{Error, Result},
    net, programs,
    wait::{self, Look},
};

/// How long a command in the shell may take: the machine is emulated, the host busy.
const COMMAND: Duration = Duration::from_secs(60);

/// Where a guest's network finds its host (QEMU's user networking).
const HOST: &str = "10.0.2.2";

/// The file on the boot partition from which a camera takes its settings.
pub const SETTINGS: &str = "peercam.toml";

/// The boards that QEMU can boot, by name, in order.
pub fn boards() -> Result<Vec<String>> {
    let workspace = workspace()?;
    let mut names = Board::list(&workspace).map_err(|error| Error::Guest(error.to_string()))?;
    // A board with a mistake in it stays in the list: booting it will say what is wrong.
    names.retain(|name| !Board::load(&workspace, name).is_ok_and(|board| board.qemu.is_none()));
    Ok(names)
}

/// The settings that bring a guest's camera to `room`: the way to the rendezvous on this host, and
/// the ports by which viewers come in.
pub fn settings(rendezvous: &Rendezvous, room: &RoomId) -> String {
    format!(
        r#"[rendezvous]
url = "ws://{HOST}:{port}"
room = "{room}"

[network]
udp-ports = "{first}-{last}"
advertise = ["{address}"]
"#,
        port = rendezvous.address().port(),
        first = qemu::MEDIA_PORTS.start(),
        last = qemu::MEDIA_PORTS.end(),
        address = entrance(),
    )
}

/// The address of this host on which media goes into a guest.
fn entrance() -> Ipv4Addr {
    match net::host_address() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
    }
}

fn workspace() -> Result<Workspace> {
    Workspace::find(&programs::repository()).map_err(|error| Error::Guest(error.to_string()))
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
        Self::start_with(bed, board, &settings(rendezvous, room))
    }

    /// Boots a fresh copy of the image of `board` with these settings on its boot partition.
    pub fn start_with(bed: &Bed, board: &str, settings: &str) -> Result<Self> {
        let failed = |error: &dyn std::error::Error| Error::Guest(error.to_string());
        let workspace = workspace()?;
        let board = Board::load(&workspace, board).map_err(|error| failed(&error))?;
        let disk = qemu::WorkingCopy::prepare(&workspace, &board.name, &bed.file("guest"))
            .map_err(|error| failed(&error))?;
        disk.write_boot_file(SETTINGS, settings.as_bytes()).map_err(|error| failed(&error))?;
        let mut machine = qemu::Machine::new(&board, &disk).map_err(|error| failed(&error))?;
        machine.serial = qemu::Serial::Stdio;
        machine.forwards = qemu::media_ports(entrance());
        let machine = Process::spawn("the guest", machine.command(), &bed.file("console.log"))?;
        Ok(Self { machine, commands: 0 })
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

    /// Restarts the guest from its own shell and waits until the shell answers again.
    pub async fn reboot(&mut self, deadline: Duration) -> Result<()> {
        let before = self.machine.output().len();
        self.machine.type_in("reboot\n")?;
        // The old shell must not be taken for the new one: U-Boot's banner lies between them.
        self.machine
            .wait_for_output("U-Boot's banner", before, deadline, |output| {
                output.contains("U-Boot 20").then_some(())
            })
            .await?;
        self.wait_for_shell(deadline).await
    }

    /// Switches it off, as a power cut does.
    pub async fn stop(self) -> Result<()> {
        self.machine.stop(Duration::from_secs(5)).await.map(|_| ())
    }
}
