//! A board's image in QEMU, and the root shell that development boards have on their serial
//! console.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use peercam_firmware::{board::Board, qemu, workspace::Workspace};
use peercam_protocol::RoomId;

use crate::{
    Bed, Process, Rendezvous, bed,
    error::{Error, Result},
    net, programs, qmp,
    wait::{self, Look},
};

/// How long a command in the shell may take: the machine is emulated, the host busy.
const COMMAND: Duration = Duration::from_secs(60);

/// How long it may take from power on to the camera in its room, on a busy machine.
pub const BOOT: Duration = Duration::from_secs(180);

/// What U-Boot prints first.
const BANNER: &str = "U-Boot 20";

/// How its shell's prompt begins, before the camera's name.
const PROMPT: &str = "root@";

/// Where a guest's network finds its host (QEMU's user networking).
const HOST: &str = "10.0.2.2";

/// The file on the boot partition from which a camera takes its settings.
pub const SETTINGS: &str = "peercam.toml";

/// Where it says what is wrong with them.
pub const SETTINGS_ERROR: &str = "peercam.toml.error";

/// The file there that has it forget everything.
pub const FACTORY_RESET: &str = "factory-reset";

/// The boards that QEMU can boot, by name, in order.
pub fn boards() -> Result<Vec<String>> {
    let workspace = workspace()?;
    let mut names = Board::list(&workspace).map_err(broken)?;
    // A board with a mistake in it stays in the list: booting it will say what is wrong.
    names.retain(|name| !Board::load(&workspace, name).is_ok_and(|board| board.qemu.is_none()));
    Ok(names)
}

/// Whether the image of this board was built.
pub fn has_image(board: &str) -> Result<bool> {
    Ok(workspace()?.image(board).is_file())
}

/// Where media comes into a guest: UDP ports of this host, each forwarded to the same one there.
#[derive(Debug, Clone)]
pub struct Entrance {
    address: Ipv4Addr,
    ports: RangeInclusive<u16>,
}

impl Entrance {
    /// Ports that nobody uses now, so that several guests run beside each other: as many as the
    /// usual ones, which are taken if they are free.
    pub fn find() -> Result<Self> {
        let address = match net::host_address() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
        };
        let usual = qemu::MEDIA_PORTS;
        let count = usual.end() - usual.start() + 1;
        (*usual.start()..u16::MAX - count)
            .step_by(count.into())
            .map(|first| first..=first + count - 1)
            .find(|ports| ports.clone().all(|port| UdpSocket::bind((address, port)).is_ok()))
            .map(|ports| Self { address, ports })
            .ok_or_else(|| {
                Error::Guest(format!("{address} has no {count} free UDP ports in a row"))
            })
    }

    /// The ports.
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.ports.clone()
    }

    /// The settings that bring a guest's camera to `room`: the way to the rendezvous on this host,
    /// and this way in for viewers.
    pub fn settings(&self, rendezvous: &Rendezvous, room: &RoomId) -> String {
        format!(
            r#"[rendezvous]
urls = ["ws://{HOST}:{port}"]
room = "{room}"

[network]
udp-ports = "{first}-{last}"
advertise = ["{address}"]
"#,
            port = rendezvous.address().port(),
            first = self.ports.start(),
            last = self.ports.end(),
            address = self.address,
        )
    }

    fn forwards(&self) -> Vec<qemu::Forward> {
        let forward = |port| qemu::Forward {
            protocol: qemu::Protocol::Udp,
            address: self.address,
            host: port,
            guest: port,
        };
        self.ports.clone().map(forward).collect()
    }
}

fn workspace() -> Result<Workspace> {
    Workspace::find(&programs::repository()).map_err(broken)
}

fn broken(error: impl std::error::Error) -> Error {
    Error::Guest(error.to_string())
}

/// A running guest.
#[derive(Debug)]
pub struct Guest {
    disk: qemu::WorkingCopy,
    machine: Process,
    /// How many commands its shell was given.
    commands: u32,
    /// Where its present start begins in the console's output.
    started: usize,
    /// Where QEMU takes commands.
    qmp: PathBuf,
}

impl Guest {
    /// Boots the image of `board` with a camera that goes to `room`. It may still be on its way
    /// there: see [`Guest::wait_hosting`].
    pub fn start(bed: &Bed, rendezvous: &Rendezvous, board: &str, room: &RoomId) -> Result<Self> {
        let entrance = Entrance::find()?;
        Self::start_with(bed, board, &entrance, &entrance.settings(rendezvous, room))
    }

    /// Boots the bed's copy of the image of `board`, made if there is none yet, with these
    /// settings on its boot partition.
    pub fn start_with(bed: &Bed, board: &str, entrance: &Entrance, settings: &str) -> Result<Self> {
        Self::start_with_files(bed, board, entrance, &[(SETTINGS, settings)])
    }

    /// The same with these files there, each a name and a text.
    pub fn start_with_files(
        bed: &Bed,
        board: &str,
        entrance: &Entrance,
        files: &[(&str, &str)],
    ) -> Result<Self> {
        let workspace = workspace()?;
        let board = Board::load(&workspace, board).map_err(broken)?;
        let folder = bed.file("guest");
        let disk = qemu::WorkingCopy::prepare(&workspace, &board.name, &folder).map_err(broken)?;
        for (name, text) in files {
            disk.write_boot_file(name, text.as_bytes()).map_err(broken)?;
        }
        let mut machine = qemu::Machine::new(&board, &disk).map_err(broken)?;
        machine.serial = qemu::Serial::Stdio;
        machine.forwards = entrance.forwards();
        let qmp = bed.file("qmp");
        machine.qmp = Some(qmp.clone());
        let machine = Process::spawn("the guest", machine.command(), &bed.file("console.log"))?;
        Ok(Self { disk, machine, commands: 0, started: 0, qmp })
    }

    /// Waits until the rendezvous has its camera in `room`.
    pub async fn wait_hosting(&mut self, rendezvous: &Rendezvous, room: &RoomId) -> Result<()> {
        wait::until(&format!("the guest's camera in room {room}"), BOOT, async || {
            self.check()?;
            Ok(match rendezvous.online(room).await? {
                true => Look::Done(()),
                false => Look::NotYet(format!("its last lines:\n{}", self.last_lines())),
            })
        })
        .await
    }

    /// Fails if QEMU has ended.
    pub fn check(&mut self) -> Result<()> {
        self.machine.check()
    }

    /// The end of what its console printed.
    pub fn last_lines(&self) -> String {
        bed::tail(self.machine.log(), 10)
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
        self.run_within(command, COMMAND).await
    }

    /// The same for a command line that takes its time.
    pub async fn run_within(&mut self, command: &str, deadline: Duration) -> Result<String> {
        match self.try_run_within(command, deadline).await? {
            (0, output) => Ok(output),
            (code, output) => Err(Error::Command { command: command.to_owned(), code, output }),
        }
    }

    /// Runs a command line in the guest's root shell: its exit code, and what it printed.
    pub async fn try_run(&mut self, command: &str) -> Result<(i32, String)> {
        self.try_run_within(command, COMMAND).await
    }

    async fn try_run_within(&mut self, command: &str, deadline: Duration) -> Result<(i32, String)> {
        self.commands += 1;
        let number = self.commands;
        let from = self.machine.output().len();
        // What is typed is echoed, the marks in two parts there: whole they are only where the
        // shell has joined them.
        self.machine.type_in(&format!(
            "printf '\\n<%s>\\n' 'begin'{number}; ({command}); printf '\\n<%s %d>\\n' 'end'{number} $?\n"
        ))?;
        let (begin, end) = (format!("<begin{number}>"), format!("<end{number} "));
        let finished = |output: &str| {
            let (_, output) = output.split_once(&begin)?;
            let (output, rest) = output.split_once(&end)?;
            let (code, _) = rest.split_once('>')?;
            Some((code.parse().ok()?, output.replace('\r', "").trim().to_owned()))
        };
        self.machine
            .wait_for_output(&format!("the end of {command:?}"), from, deadline, finished)
            .await
    }

    /// Waits until the shell answers.
    pub async fn wait_for_shell(&mut self) -> Result<()> {
        // Nothing may be typed before the shell is there: U-Boot would take it as the wish not to
        // boot, and a serial port whose queue fills before its driver has started stays deaf.
        self.machine
            .wait_for_output("the shell's prompt", self.started, BOOT, |output| {
                output.contains(PROMPT).then_some(())
            })
            .await?;
        wait::until("the guest's shell", BOOT, async || {
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

    /// Waits until the agent runs.
    pub async fn wait_for_agent(&mut self) -> Result<()> {
        wait::until("the guest's agent", BOOT, async || {
            let (code, output) = self.try_run("pidof peercam-agent").await?;
            Ok(if code == 0 { Look::Done(()) } else { Look::NotYet(output) })
        })
        .await
    }

    /// Restarts the guest from its own shell. Returns when the new start has begun.
    pub async fn reboot(&mut self) -> Result<()> {
        let before = self.console_length();
        self.type_in("reboot\n")?;
        self.wait_for_start(before, BOOT).await
    }

    /// Has QEMU change the machine around it (QMP): see QEMU's "QMP Reference Manual". `arguments`
    /// is a JSON object.
    pub async fn change_machine(&self, command: &str, arguments: &str) -> Result<()> {
        qmp::execute(&self.qmp, command, arguments).await.map(drop)
    }

    /// Types into its console, and waits for nothing: for what no shell survives.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        self.machine.type_in(text)
    }

    /// How many bytes its console has printed: what comes next begins there.
    pub fn console_length(&self) -> usize {
        self.machine.output().len()
    }

    /// Waits until it has begun to start anew, as its console says behind byte `from`.
    pub async fn wait_for_start(&mut self, from: usize, deadline: Duration) -> Result<()> {
        let banner = |output: &str| output.find(BANNER);
        let at = self.machine.wait_for_output("U-Boot's banner", from, deadline, banner).await?;
        self.started = from + at;
        Ok(())
    }

    /// How often it has started: more than once, and it was reset.
    pub fn starts(&self) -> usize {
        self.machine.output().matches(BANNER).count()
    }

    /// Switches it off, as a power cut does, and returns its disk.
    pub async fn stop(self) -> Result<qemu::WorkingCopy> {
        self.machine.stop(Duration::from_secs(5)).await?;
        Ok(self.disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_guests_get_different_ports() {
        let first = Entrance::find().unwrap();
        let _taken = UdpSocket::bind((first.address, *first.ports.end())).unwrap();
        let second = Entrance::find().unwrap();
        assert!(!first.ports.contains(second.ports.start()), "{first:?} {second:?}");
        assert_eq!(second.forwards().len(), qemu::MEDIA_PORTS.count());
        assert!(second.forwards().iter().all(|forward| forward.host == forward.guest));
    }
}
