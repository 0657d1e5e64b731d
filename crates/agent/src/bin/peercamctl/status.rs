//! `peercamctl status`

use peercam_agent::control_socket::{
    Request,
    messages::{DeviceStatus, Status},
};

use peercam_protocol::signalling::Door;

use crate::{Common, Failure, agent, say, words};

/// Show the rooms the camera waits in, and who watches
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For programs: peercamctl status --json | jq .data.hosts
Who watches from where is not told: the agent keeps that to itself.")]
pub struct Arguments {}

impl Arguments {
    /// The verb.
    pub fn run(&self, common: &Common) -> Result<(), Failure> {
        let (status, _) = agent::ask(common, &Request::Status {})?;
        if !common.json {
            say::data(describe(&status, words::now()).trim_end())?;
        }
        Ok(())
    }
}

fn describe_device(device: &DeviceStatus) -> String {
    let DeviceStatus { starts, failures, .. } = device;
    let up = words::duration(device.uptime_seconds);
    let mut text = format!("device up {up}, start {starts}, services failed {failures} times\n");
    if device.resetting {
        text += "the device is about to be reset: see the watchdog's log\n";
    }
    if let Some(reset) = &device.last_reset {
        let ago = words::duration(reset.seconds_ago);
        text += &format!("last reset ({}) {ago} ago: {}", reset.kind, reset.reason);
        text += &match device.resets_in_a_row {
            0 | 1 => "\n".to_owned(),
            row => format!(", the last of {row} in a row\n"),
        };
    }
    text
}

fn describe(status: &Status, now: u64) -> String {
    let Status { version, uptime_seconds, key, .. } = status;
    let up = words::duration(*uptime_seconds);
    let door = match status.door {
        Door::Open => "open: everybody who knows the room may watch",
        Door::Token => "token: who has a link of peercamctl share may watch",
    };
    let mut text = format!("peercam-agent {version}, up {up}\nkey {key}\ndoor {door}\n");
    if let Some(reason) = &status.safe_mode {
        text += &format!("safe mode, because of {reason}: see the watchdog's log\n");
    }
    if let Some(device) = &status.device {
        text += &describe_device(device);
    }
    if status.hosts.is_empty() {
        text += "waits in no room: set rendezvous.urls, or add one with peercamctl startWebRTC\n";
    }
    for host in &status.hosts {
        let since = words::duration(now.saturating_sub(host.since));
        text += &format!("room {} (configId {}) on {}", host.room, host.config_id, host.server);
        text += &match (host.hosting, &host.trouble) {
            (true, _) => format!(": hosting for {since}\n"),
            (false, None) => format!(": connecting for {since}\n"),
            (false, Some(trouble)) => format!(": connecting for {since}: {trouble}\n"),
        };
        if let Some(page) = host.page.as_ref().filter(|_| host.hosting) {
            text += &format!("  {page}\n");
        }
    }
    text += &format!("viewers: {} of at most {}\n", status.viewers.len(), status.max_viewers);
    for viewer in &status.viewers {
        let room = status.hosts.iter().find(|host| host.config_id == viewer.config_id);
        let room = room.map(|host| format!(", room {}", host.room)).unwrap_or_default();
        let lost = if viewer.path_lost { ", out of reach for the moment" } else { "" };
        let time = words::duration(viewer.seconds);
        text += &format!("  {} for {time}{room}{lost}\n", viewer.transport);
    }
    text
}
