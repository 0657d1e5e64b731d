//! `[cluster]` of the configuration.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::Deserialize;

/// How this node finds the others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// NATS servers, without user and password: one of them is enough at a time.
    pub servers: Vec<ServerAddr>,
    /// Who this node is to all of them, where their URLs say that.
    pub login: Option<Login>,
    /// What the cluster is called: nodes of one name share rooms. 1 to 32 letters, digits, `-`, `_`.
    pub name: String,
    /// What this node is called, in the logs of the others and of NATS.
    pub node: String,
    /// NATS credentials (a JWT and the key that belongs to it).
    pub credentials_file: Option<PathBuf>,
    /// Certificates (PEM) to believe NATS servers by, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key (PEM) to show to NATS.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// On how many NATS servers claims and cameras are kept: 1 to 5.
    pub replicas: usize,
    /// Most viewers of other nodes at the cameras of this one.
    pub remote_viewers: usize,
}

/// A file for NATS that is not as it has to be.
#[derive(Debug, thiserror::Error)]
#[error("cluster: {key} = {:?}: {reason}", .file.display())]
pub struct ClusterFileError {
    /// What the configuration calls it.
    key: &'static str,
    file: PathBuf,
    reason: String,
}

impl ClusterConfig {
    /// Reads the files that are named. They are read anew for each connection, too: this tells in
    /// time what is wrong with them.
    ///
    /// # Errors
    ///
    /// The first one that is not as it has to be.
    pub(crate) fn check_files(&self) -> Result<(), ClusterFileError> {
        let (certificate, key) = self.certificate.as_ref().map(|(c, k)| (c, k)).unzip();
        check_file("credentials-file", self.credentials_file.as_ref(), |file| {
            let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
            ConnectOptions::with_credentials(&text).map(drop).map_err(|error| error.to_string())
        })?;
        check_file("ca-file", self.ca_file.as_ref(), certificates)?;
        check_file("certificate-file", certificate, certificates)?;
        check_file("key-file", key, |file| {
            PrivateKeyDer::from_pem_file(file).map(drop).map_err(|error| error.to_string())
        })
    }

    /// Those of its files that hold secrets.
    pub(crate) fn secret_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.credentials_file.iter().chain(self.certificate.iter().map(|(_, key)| key))
    }
}

fn check_file(
    key: &'static str,
    file: Option<&PathBuf>,
    check: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<(), ClusterFileError> {
    let Some(file) = file else { return Ok(()) };
    check(file).map_err(|reason| ClusterFileError { key, file: file.clone(), reason })
}

/// At least one of them, in PEM.
fn certificates(file: &Path) -> Result<(), String> {
    let mut found = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    let first = found.next().ok_or("there is no certificate in it: it has to be PEM")?;
    first.map(drop).map_err(|error| error.to_string())
}

/// What stands before the host of a URL.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user's name and password.
    User(String, String),
    /// A token.
    Token(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(hidden)")
    }
}

impl Login {
    /// Takes it out of a URL, so that it is shown nowhere.
    fn take(server: ServerAddr) -> Option<(Option<Self>, ServerAddr)> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let login = match (server.username(), server.password()) {
            (None, None) => None,
            (Some(token), None) => Some(Self::Token(decoded(token))),
            (user, Some(password)) => {
                Some(Self::User(decoded(user.unwrap_or_default()), decoded(password)))
            }
        };
        let mut url = server.into_inner();
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        Some((login, ServerAddr::from_url(url).ok()?))
    }
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
        let (mut servers, mut logins) = (Vec::new(), Vec::new());
        for (index, url) in urls.iter().enumerate() {
            // The URL may hold a password: it is not repeated.
            let server = url.parse::<ServerAddr>().ok().filter(|server| {
                matches!(server.scheme(), "nats" | "tls") && !server.host().is_empty()
            });
            let (login, server) = server.and_then(Login::take).ok_or_else(|| {
                format!(
                    "cluster: URL {} of nats is none: write nats://HOST:PORT or tls://HOST:PORT, \
                     with USER:PASSWORD@ before the host where NATS asks for them",
                    index + 1
                )
            })?;
            servers.push(server);
            logins.push(login);
        }
        // One list of servers is one NATS cluster, and its users are the same at each of them.
        logins.dedup();
        let [login] = logins.as_slice() else {
            return Err("cluster: the URLs of nats name different users, or some of them none: \
                        give all of them the same USER:PASSWORD@"
                .to_owned());
        };
        let login = login.clone();
        if login.is_some() && self.credentials_file.is_some() {
            return Err(
                "cluster: nats names a user, and credentials-file another: give one of them"
                    .to_owned(),
            );
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
            login,
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
