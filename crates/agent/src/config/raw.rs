//! The keys as a person writes them. Nothing is checked here but names and types.

use std::path::PathBuf;

use peercam_media::{AudioConfig, VideoConfig};
use peercam_protocol::signalling::Door;
use serde::Deserialize;

/// The whole file. Each table may be left out, and each key in it.
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Config {
    pub state_dir: PathBuf,
    pub device: Device,
    pub rendezvous: Rendezvous,
    pub access: Access,
    pub control: Control,
    pub viewers: Viewers,
    pub network: Network,
    pub video: VideoConfig,
    pub audio: AudioConfig,
}

/// `[device]`
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Device {
    pub name: Option<String>,
    pub ipv4: String,
    pub ipv6: String,
    pub gateways: Vec<String>,
    pub dns: Vec<String>,
}

/// `[rendezvous]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Rendezvous {
    pub urls: Vec<String>,
    pub room: Option<String>,
    pub ca: Option<PathBuf>,
}

/// `[access]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Access {
    pub door: Door,
    pub owner_keys: Vec<String>,
    pub bearer: bool,
}

/// `[control]`
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Control {
    pub enabled: bool,
    pub socket: PathBuf,
}

/// `[viewers]`
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Viewers {
    pub max: usize,
}

/// `[network]`
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Network {
    pub udp_ports: Option<String>,
    pub advertise: Vec<String>,
    pub loopback: bool,
    pub tcp: bool,
    pub relay_only: bool,
    pub turn_ca: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/data/peercam".into(),
            device: Device::default(),
            rendezvous: Rendezvous::default(),
            access: Access::default(),
            control: Control::default(),
            viewers: Viewers::default(),
            network: Network::default(),
            video: VideoConfig::default(),
            audio: AudioConfig::default(),
        }
    }
}

impl Default for Device {
    fn default() -> Self {
        Self {
            name: None,
            ipv4: "dhcp".into(),
            ipv6: "auto".into(),
            gateways: Vec::new(),
            dns: Vec::new(),
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { enabled: true, socket: super::CONTROL_SOCKET.into() }
    }
}

impl Default for Viewers {
    fn default() -> Self {
        Self { max: 20 }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            udp_ports: None,
            advertise: Vec::new(),
            loopback: false,
            tcp: true,
            relay_only: false,
            turn_ca: None,
        }
    }
}
