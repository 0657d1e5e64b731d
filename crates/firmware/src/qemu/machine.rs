//! QEMU's command line for a board.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;

use super::{Error, WorkingCopy};
use crate::board::{Architecture, Board, Qemu};

/// The UDP ports on which a camera in QEMU talks to viewers.
pub const MEDIA_PORTS: RangeInclusive<u16> = 50_000..=50_015;

/// A guest that is about to be started. The fields are the wishes; [`Machine::command`]
/// makes QEMU's arguments of them.
#[derive(Debug, Clone)]
pub struct Machine {
    architecture: Architecture,
    qemu: Qemu,
    disk: PathBuf,
    /// Where the serial console goes.
    pub serial: Serial,
    /// A Unix socket for QEMU's machine protocol (QMP), if one is wanted.
    pub qmp: Option<PathBuf>,
    /// Ports of the host that lead into the guest.
    pub forwards: Vec<Forward>,
    /// Throw away what the guest writes when it ends.
    pub snapshot: bool,
    /// End QEMU instead of starting the guest again when it reboots or its watchdog bites.
    pub no_reboot: bool,
}

/// Where a guest's serial console goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serial {
    /// This process's standard input and output. `Ctrl-A x` ends QEMU, `Ctrl-A h` helps.
    Stdio,
    /// A Unix socket that QEMU listens on (it doesn't wait for someone to connect).
    Socket(PathBuf),
    /// Output to a file; no input.
    File(PathBuf),
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// A port of the host that leads into the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The host's address to listen on.
    pub address: Ipv4Addr,
    /// The host's port.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
}

/// [`MEDIA_PORTS`], each to the same port in the guest, on one address of the host. With
/// `0.0.0.0` they are open on all of them.
#[must_use]
pub fn media_ports(address: Ipv4Addr) -> Vec<Forward> {
    MEDIA_PORTS
        .map(|port| Forward { protocol: Protocol::Udp, address, host: port, guest: port })
        .collect()
}

impl Machine {
    /// A guest with a console on standard input and output and nothing forwarded.
    ///
    /// # Errors
    /// [`Error::NoMachine`] when QEMU can't play the board, [`Error::Missing`] when its boot
    /// loader is not installed.
    pub fn new(board: &Board, disk: &WorkingCopy) -> Result<Self, Error> {
        let qemu =
            board.qemu.clone().ok_or_else(|| Error::NoMachine { board: board.name.clone() })?;
        if !qemu.firmware.is_file() {
            return Err(Error::Missing { path: qemu.firmware, package: "u-boot-qemu" });
        }
        Ok(Self {
            architecture: board.architecture,
            qemu,
            disk: disk.path().to_owned(),
            serial: Serial::Stdio,
            qmp: None,
            forwards: Vec::new(),
            snapshot: false,
            no_reboot: false,
        })
    }

    /// The command that starts it. Standard input and output are left as they are.
    #[must_use]
    pub fn command(&self) -> Command {
        let qemu = &self.qemu;
        let mut command = Command::new(format!("qemu-system-{}", self.architecture.qemu()));
        command.args(["-M", &qemu.machine, "-cpu", &qemu.cpu]);
        command.args(["-smp", &qemu.cpus.to_string()]);
        command.args(["-m", &format!("{}M", qemu.memory.get() >> 20)]);
        command.arg("-bios").arg(&qemu.firmware);
        command.args(["-display", "none", "-nodefaults"]);

        let disk = escaped(&self.disk);
        let snapshot = if self.snapshot { "on" } else { "off" };
        command.args([
            "-drive",
            &format!("if=none,id=disk,format=raw,discard=unmap,snapshot={snapshot},file={disk}"),
        ]);
        command.args(["-device", "virtio-blk-pci,drive=disk"]);

        let mut network = "user,id=net".to_owned();
        for forward in &self.forwards {
            let protocol = match forward.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            };
            let Forward { address, host, guest, .. } = forward;
            network.push_str(&format!(",hostfwd={protocol}:{address}:{host}-:{guest}"));
        }
        command.args(["-netdev", &network]);
        // The ROM for booting from the network is another package, and of no use here.
        command.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        // Without it the guest waits for randomness that an emulator has little of.
        command.args(["-device", "virtio-rng-pci"]);

        if let Some(watchdog) = &qemu.watchdog {
            command.args(["-device", watchdog, "-action", "watchdog=reset"]);
        }
        if self.no_reboot {
            command.arg("-no-reboot");
        }
        match &self.serial {
            Serial::Stdio => command.args(["-serial", "mon:stdio"]),
            Serial::Socket(path) => {
                let path = escaped(path);
                command.args([
                    "-chardev",
                    &format!("socket,id=console,server=on,wait=off,path={path}"),
                ]);
                command.args(["-serial", "chardev:console"])
            }
            Serial::File(path) => {
                command.args(["-chardev", &format!("file,id=console,path={}", escaped(path))]);
                command.args(["-serial", "chardev:console"])
            }
        };
        if let Some(path) = &self.qmp {
            command.args(["-qmp", &format!("unix:{},server=on,wait=off", escaped(path))]);
        }
        command
    }
}

/// QEMU takes a comma for the end of a value, two for one that is meant.
fn escaped(path: &std::path::Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_does_not_end_the_value() {
        assert_eq!(escaped(std::path::Path::new("/a,b/disk.img")), "/a,,b/disk.img");
    }

    #[test]
    fn every_media_port_leads_to_the_same_port_in_the_guest() {
        let forwards = media_ports(Ipv4Addr::LOCALHOST);
        assert_eq!(forwards.len(), 16);
        assert!(forwards.iter().all(|f| f.host == f.guest && f.protocol == Protocol::Udp));
    }
}
