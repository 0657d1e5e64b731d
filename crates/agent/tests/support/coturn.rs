//! A real TURN server (coturn) on the loopback interface, and certificates for it.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use peercam_protocol::signalling::IceServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring};
use tempfile::TempDir;

use super::PATIENCE;

const USER: &str = "camera";
const PASSWORD: &str = "a password";

/// How a client reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Udp,
    Tcp,
    Tls,
}

/// `turnserver`, until it is dropped.
pub struct Coturn {
    child: Child,
    over: Over,
    port: u16,
    folder: TempDir,
}

impl Coturn {
    /// Starts one that listens in one way only.
    pub fn start(over: Over) -> Self {
        let port = free_port();
        Self::start_at(over, port, TempDir::new().unwrap(), "localhost")
    }

    /// One on TLS whose certificate is for `name`.
    pub fn start_as(name: &str) -> Self {
        Self::start_at(Over::Tls, free_port(), TempDir::new().unwrap(), name)
    }

    fn start_at(over: Over, port: u16, folder: TempDir, name: &str) -> Self {
        let path = |name: &str| folder.path().join(name);
        if over == Over::Tls && !path("ca.pem").exists() {
            let certified = Certified::new(name);
            std::fs::write(path("ca.pem"), certified.authority).unwrap();
            std::fs::write(path("cert.pem"), certified.certificate).unwrap();
            std::fs::write(path("key.pem"), certified.key).unwrap();
        }
        let mut command = Command::new("turnserver");
        command
            .args(["-n", "--listening-ip=127.0.0.1", "--listening-ip=::1", "--relay-ip=127.0.0.1"])
            .args(["--allow-loopback-peers", "--no-cli", "--no-dtls", "--log-file=stdout"])
            .args(["--lt-cred-mech", "--realm=peercam.test"])
            .arg(format!("--user={USER}:{PASSWORD}"))
            .arg(format!("--pidfile={}", path("pid").display()))
            .arg(format!("--userdb={}", path("db").display()));
        match over {
            Over::Udp => command.args(["--no-tcp", "--no-tls"]),
            Over::Tcp => command.args(["--no-udp", "--no-tls"]),
            Over::Tls => command
                .args(["--no-udp", "--no-tcp"])
                .arg(format!("--cert={}", path("cert.pem").display()))
                .arg(format!("--pkey={}", path("key.pem").display())),
        };
        let option = if over == Over::Tls { "tls-listening-port" } else { "listening-port" };
        let child = command
            .arg(format!("--{option}={port}"))
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(path("log")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver (Debian package coturn) can be started");
        let server = Self { child, over, port, folder };
        server.wait();
        server
    }

    /// Until it answers.
    fn wait(&self) {
        let begun = Instant::now();
        let to = (Ipv4Addr::LOCALHOST, self.port);
        while begun.elapsed() < PATIENCE {
            let answers = match self.over {
                // Its first connections are accepted before it is ready, and then forgotten.
                Over::Tcp => answers(to.into(), &binding_request()),
                Over::Tls => answers(to.into(), &client_hello()),
                Over::Udp => {
                    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
                    socket.send_to(&binding_request(), to).unwrap();
                    socket.recv(&mut [0; 1500]).is_ok()
                }
            };
            if answers {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("turnserver does not answer: {}", self.log());
    }

    /// Kills it and starts it again in the same place: no allocation outlives that.
    pub fn restart(self) -> Self {
        let stopped = self.stop();
        stopped.start()
    }

    /// Kills it.
    pub fn stop(mut self) -> Stopped {
        self.end();
        let folder = std::mem::replace(&mut self.folder, TempDir::new().unwrap());
        Stopped { over: self.over, port: self.port, folder }
    }

    /// As the rendezvous hands it out; by name on TLS, since certificates are for names.
    pub fn ice_server(&self) -> IceServer {
        self.ice_server_with(PASSWORD)
    }

    /// The same with another password.
    pub fn ice_server_with(&self, password: &str) -> IceServer {
        IceServer {
            urls: vec![self.url()],
            username: Some(USER.to_owned()),
            credential: Some(password.to_owned()),
        }
    }

    /// The same over IPv6.
    pub fn ice_server_on_ipv6(&self) -> IceServer {
        let mut server = self.ice_server();
        server.urls = vec![self.url().replace("127.0.0.1", "[::1]")];
        server
    }

    pub fn url(&self) -> String {
        let port = self.port;
        match self.over {
            Over::Udp => format!("turn:127.0.0.1:{port}"),
            Over::Tcp => format!("turn:127.0.0.1:{port}?transport=tcp"),
            Over::Tls => format!("turns:localhost:{port}"),
        }
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        self.end();
    }
}

/// One that was killed and can be started again.
pub struct Stopped {
    over: Over,
    port: u16,
    folder: TempDir,
}

impl Stopped {
    pub fn start(self) -> Coturn {
        Coturn::start_at(self.over, self.port, self.folder, "localhost")
    }
}

/// A certificate for a server and the authority that vouches for it, in PEM.
pub struct Certified {
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

impl Certified {
    /// For the name.
    pub fn new(name: &str) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        Self {
            authority: authority.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes the authority to a file in `folder`.
    pub fn trust(&self, folder: &Path) -> PathBuf {
        let file = folder.join("authority.pem");
        std::fs::write(&file, &self.authority).unwrap();
        file
    }
}

/// A port that is free on UDP and TCP. Not one of those that the kernel hands out to clients (from
/// 32768 on): while a server is stopped, the very client that tries to reach it could get its port.
fn free_port() -> u16 {
    loop {
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        let port = 20_000 + u16::from_ne_bytes(random) % 12_000;
        let here = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(here).is_ok() && UdpSocket::bind(here).is_ok() {
            return port;
        }
    }
}

/// Whether anything comes back on a stream.
fn answers(to: SocketAddr, question: &[u8]) -> bool {
    let Ok(mut stream) = TcpStream::connect(to) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(question).is_ok() && stream.read_exact(&mut [0]).is_ok()
}

/// The first message of a TLS handshake.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// RFC 8489 §5.
fn binding_request() -> Vec<u8> {
    [&[0, 1, 0, 0][..], &0x2112_a442_u32.to_be_bytes(), &[7; 12]].concat()
}
