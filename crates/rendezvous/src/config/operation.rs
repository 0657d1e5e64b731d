//! The part of the configuration that is about running the server: how it is reached, watched and
//! ended.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use axum::http::Uri;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Mistake, check};

/// Longest time cameras may be given to move: what waits for the server's end has a limit too, and
/// systemd's is 90 s.
const DRAIN_SECONDS: u64 = 80;

/// Where certificate and key lie. Both are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TlsFiles {
    /// PEM: the server's certificate, and behind it those that lead to the authority.
    pub certificate: PathBuf,
    /// PEM: the key of the first certificate.
    pub key: PathBuf,
}

/// The interface for the server's administrator, on a listener of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Address and port.
    pub listen: SocketAddr,
    /// The file with the secret that its users show.
    pub secret_file: PathBuf,
    /// Whether it does TLS, with the certificate of [`TlsFiles`].
    pub tls: bool,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object in each line.
    Json,
}

/// A server that is told of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where they are posted: `http` or `https`.
    pub url: Uri,
    /// The file with the secret that deliveries are signed with.
    pub secret_file: PathBuf,
    /// Which ones; all where it is empty.
    pub events: Vec<EventKind>,
    /// PEM: an authority to trust for `https` besides those that browsers trust.
    pub ca: Option<PathBuf>,
}

/// What kinds of event there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A camera waits in its room now.
    CameraOnline,
    /// It does not any more.
    CameraOffline,
    /// A viewer is in a room.
    ViewerJoined,
    /// He is not any more.
    ViewerLeft,
    /// A viewer asked for a session, or took one up again.
    SessionStarted,
    /// One side ended it.
    SessionEnded,
    /// A camera reports that something failed.
    Error,
}

impl EventKind {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 7] = [
        Self::CameraOnline,
        Self::CameraOffline,
        Self::ViewerJoined,
        Self::ViewerLeft,
        Self::SessionStarted,
        Self::SessionEnded,
        Self::Error,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::CameraOnline => "camera-online",
            Self::CameraOffline => "camera-offline",
            Self::ViewerJoined => "viewer-joined",
            Self::ViewerLeft => "viewer-left",
            Self::SessionStarted => "session-started",
            Self::SessionEnded => "session-ended",
            Self::Error => "error",
        }
    }
}

/// What stands in the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct AdminTable {
    listen: String,
    secret_file: PathBuf,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    dangerously_without_tls: bool,
}

impl AdminTable {
    /// `tls` says whether there is a certificate.
    pub(super) fn check(self, tls: bool) -> Result<Admin, String> {
        let Self { listen, secret_file, tls: wanted, dangerously_without_tls } = self;
        let address = SocketAddr::from_str(&listen).map_err(|_| {
            format!(
                "admin: listen = {listen:?}: write ADDRESS:PORT, \"127.0.0.1:8081\" for instance"
            )
        })?;
        if wanted && !tls {
            return Err(
                "admin: tls = true needs a certificate: add [tls] with certificate and key"
                    .to_owned(),
            );
        }
        if !address.ip().to_canonical().is_loopback() && !wanted && !dangerously_without_tls {
            return Err(format!(
                "admin: listen = {listen:?} can be reached by others, who could read the secret on \
                 its way: add tls = true, or listen on 127.0.0.1 and come by ssh; where the network \
                 itself keeps secrets, dangerously-without-tls = true"
            ));
        }
        Ok(Admin { listen: address, secret_file, tls: wanted })
    }
}

/// What stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct LogTable {
    pub(super) format: LogFormat,
}

/// What stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct MetricsTable {
    pub(super) public: bool,
}

/// What stands in the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct WebhookTable {
    url: String,
    secret_file: PathBuf,
    #[serde(default)]
    events: Vec<EventKind>,
    ca: Option<PathBuf>,
}

impl WebhookTable {
    pub(super) fn check(self) -> Result<Webhook, String> {
        let Self { url, secret_file, events, ca } = self;
        let uri = Uri::from_str(&url).ok();
        let good = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        };
        match uri.filter(good) {
            Some(url) => Ok(Webhook { url, secret_file, events, ca }),
            // A password may stand in what it is instead.
            None => {
                Err("webhooks: url: write https://HOST/PATH or http://HOST:PORT/PATH, without \
                         a user name"
                    .to_owned())
            }
        }
    }
}

/// How long cameras have to move away when the server ends.
pub(super) fn drain(seconds: Option<Spanned<u64>>) -> Result<Option<Duration>, Mistake> {
    let in_range = |seconds| match seconds {
        0..=DRAIN_SECONDS => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("drain-seconds = {seconds}: use 0 to {DRAIN_SECONDS}")),
    };
    seconds.map(|seconds| check(seconds, in_range)).transpose()
}
