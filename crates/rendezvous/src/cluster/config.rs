//! `[cluster]` of the configuration.

use std::path::PathBuf;

use async_nats::ServerAddr;
use serde::Deserialize;

/// How this node finds the others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// NATS servers: one of them is enough at a time.
    pub servers: Vec<ServerAddr>,
    /// What the cluster is called: nodes of one name share rooms. 1 to 32 letters, digits, `-`, `_`.
    pub name: String,
    /// What this node is called, in the logs of the others and of NATS.
    pub node: String,
    /// NATS credentials (a JWT and the key that belongs to it).
    pub credentials_file: Option<PathBuf>,
    /// Certificates (PEM) to believe NATS servers by, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key (PEM) to show to NATS.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// On how many NATS servers claims and cameras are kept: 1 to 5.
    pub replicas: usize,
    /// Most viewers of other nodes at the cameras of this one.
    pub remote_viewers: usize,
}

/// The table as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ClusterTable {
    nats: OneOrMore,
    #[serde(default = "default_name")]
    name: String,
    node: Option<String>,
    credentials_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    #[serde(default = "default_replicas")]
    replicas: usize,
    #[serde(default = "default_remote_viewers")]
    remote_viewers: usize,
}

/// `"nats://a"` or `["nats://a", "nats://b"]`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

fn default_name() -> String {
    "peercam".to_owned()
}

fn default_replicas() -> usize {
    1
}

fn default_remote_viewers() -> usize {
    10_000
}

impl ClusterTable {
    /// Checks everything that can be checked without a connection.
    pub(crate) fn check(self) -> Result<ClusterConfig, String> {
        let urls = match self.nats {
            OneOrMore::One(url) => vec![url],
            OneOrMore::More(urls) => urls,
        };
        if urls.is_empty() {
            return Err("cluster: nats is empty: name at least one server, \
                        \"nats://127.0.0.1:4222\" for instance"
                .to_owned());
        }
        let mut servers = Vec::new();
        for (index, url) in urls.iter().enumerate() {
            // The URL may hold a password: it is not repeated.
            let server = url.parse::<ServerAddr>().ok().filter(|server| {
                matches!(server.scheme(), "nats" | "tls") && !server.host().is_empty()
            });
            servers.push(server.ok_or_else(|| {
                format!(
                    "cluster: URL {} of nats is none: write nats://HOST:PORT or tls://HOST:PORT",
                    index + 1
                )
            })?);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.name.is_empty() || self.name.len() > 32 || !self.name.chars().all(allowed) {
            return Err(format!(
                "cluster: name = {:?}: use 1 to 32 letters, digits, '-' and '_'",
                self.name
            ));
        }
        let node = self.node.unwrap_or_default();
        if node.len() > 64 || node.chars().any(char::is_control) {
            return Err("cluster: node is at most 64 characters of plain text".to_owned());
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(format!("cluster: replicas = {}: use 1 to 5", self.replicas));
        }
        if self.remote_viewers == 0 {
            return Err(
                "cluster: remote-viewers = 0 would let nobody through: use 1 or more".to_owned()
            );
        }
        let certificate = match (self.certificate_file, self.key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(
                    "cluster: certificate-file and key-file belong together: give both".to_owned()
                );
            }
        };
        Ok(ClusterConfig {
            servers,
            name: self.name,
            node,
            credentials_file: self.credentials_file,
            ca_file: self.ca_file,
            certificate,
            replicas: self.replicas,
            remote_viewers: self.remote_viewers,
        })
    }
}
