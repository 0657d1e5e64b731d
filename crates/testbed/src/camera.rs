//! A camera on this machine: the agent, `peercam-agent`, with its test source.

use std::{fs, io, path::PathBuf, time::Duration};

use data_encoding::BASE64;
use nix::sys::signal::Signal;
use peercam_protocol::{RoomId, SecretKey, ShareLink, signalling::Door};
use tokio::task::spawn_blocking;

use crate::{
    Bed, Process, Rendezvous, bed,
    error::{Error, Result},
    network::Place,
    programs,
    wait::{self, Look},
};

/// How long the agent may take to its room, on a busy machine.
const HOSTS_WITHIN: Duration = Duration::from_secs(30);

/// What a test may want different from an ordinary camera.
#[derive(Debug, Clone)]
pub struct Options {
    /// The room it waits in.
    pub room: RoomId,
    /// Who may come in.
    pub door: Door,
    /// Whether tokens that are bound to no key open the door, as WHEP players have them.
    pub bearer: bool,
    /// Most viewers at once.
    pub max_viewers: Option<u32>,
    /// Size of the picture in pixels.
    pub size: (u32, u32),
    /// A file to play in a loop instead of the test picture.
    pub picture: Option<PathBuf>,
    /// Milliseconds between two key frames.
    pub key_frame_interval_ms: Option<u32>,
    /// Frames a second.
    pub framerate: u32,
    /// `RUST_LOG` of the agent.
    pub log: String,
    /// A certificate authority (PEM) that it believes of TURN servers, besides the usual ones.
    pub turn_authority: Option<PathBuf>,
    /// Which network it is in.
    pub place: Place,
}

impl Options {
    /// A camera that a machine which does other work too encodes with ease: 640x360 at 15 frames
    /// a second.
    pub fn small(room: RoomId) -> Self {
        Self {
            room,
            door: Door::Open,
            bearer: false,
            max_viewers: None,
            size: (640, 360),
            picture: None,
            key_frame_interval_ms: None,
            framerate: 15,
            log: "info,peercam_agent=debug,peercam_media=debug".to_owned(),
            turn_authority: None,
            place: Place::Here,
        }
    }

    /// The camera of the budgets: 1280x720 at 30 frames a second.
    pub fn full(room: RoomId) -> Self {
        Self { size: (1280, 720), framerate: 30, log: "info".to_owned(), ..Self::small(room) }
    }

    /// Writes the agent's configuration file, with its state in a folder beside it; returns the
    /// file's path.
    pub fn write(&self, bed: &Bed, rendezvous: &Rendezvous) -> Result<PathBuf> {
        let toml = self.toml(&rendezvous.url(), &self.state(bed).display().to_string());
        bed.write(&format!("{}.toml", self.room), &toml)
    }

    /// Where the agent keeps its state.
    fn state(&self, bed: &Bed) -> PathBuf {
        bed.file(&format!("{}-state", self.room))
    }

    /// The agent's configuration file.
    fn toml(&self, rendezvous: &str, state: &str) -> String {
        let (width, height) = self.size;
        let viewers = match self.max_viewers {
            Some(max) => format!("[viewers]\nmax = {max}\n"),
            None => String::new(),
        };
        let key_frames = match self.key_frame_interval_ms {
            Some(ms) => format!("key-frame-interval-ms = {ms}\n"),
            None => String::new(),
        };
        let turn_authority = match &self.turn_authority {
            Some(file) => format!("[network]\nturn-ca = \"{}\"\n", file.display()),
            None => String::new(),
        };
        let source = match &self.picture {
            Some(file) => format!("source = \"file\"\nfile = \"{}\"", file.display()),
            None => "source = \"test\"".to_owned(),
        };
        format!(
            r#"state-dir = "{state}"

[rendezvous]
urls = ["{rendezvous}"]
room = "{room}"

[control]
socket = "{state}/control.sock"

[access]
door = "{door}"
bearer = {bearer}

{viewers}{turn_authority}
[video]
{source}
width = {width}
height = {height}
framerate = {framerate}
{key_frames}
[audio]
source = "test"
"#,
            room = self.room,
            door = self.door.as_str(),
            bearer = self.bearer,
            framerate = self.framerate,
        )
    }
}

/// A running agent.
#[derive(Debug)]
pub struct HostCamera {
    /// None only while it is down on purpose.
    process: Option<Process>,
    program: PathBuf,
    config: PathBuf,
    state: PathBuf,
    log: PathBuf,
    options: Options,
}

impl HostCamera {
    /// Starts the agent. It may still be on its way to its room: see [`Rendezvous::wait_online`].
    pub fn start(bed: &Bed, rendezvous: &Rendezvous, options: Options) -> Result<Self> {
        let program = programs::workspace("peercam-agent")?;
        let (state, config) = (options.state(bed), options.write(bed, rendezvous)?);
        let log = bed.file(&format!("{}.log", options.room));
        let mut camera = Self { process: None, program, config, state, log, options };
        camera.restart()?;
        Ok(camera)
    }

    /// Starts the agent and waits until the rendezvous has it in its room.
    pub async fn host(bed: &Bed, rendezvous: &Rendezvous, options: Options) -> Result<Self> {
        let mut camera = Self::start(bed, rendezvous, options)?;
        camera.wait_hosting(rendezvous).await?;
        Ok(camera)
    }

    /// Waits until the rendezvous has it in its room.
    pub async fn wait_hosting(&mut self, rendezvous: &Rendezvous) -> Result<()> {
        let room = self.options.room.clone();
        let what = format!("the camera in room {room}");
        wait::until(&what, HOSTS_WITHIN, async || {
            self.check()?;
            Ok(match rendezvous.online(&room).await? {
                true => Look::Done(()),
                false => Look::NotYet(format!("its last lines:\n{}", self.last_lines())),
            })
        })
        .await
    }

    /// A link by which somebody may watch it for a day, as `peercamctl share` makes it on the
    /// camera. `server` is where viewers find the rendezvous.
    pub async fn share(&self, server: &str) -> Result<ShareLink> {
        let program = programs::workspace("peercamctl")?;
        let mut command = self.options.place.command(&program);
        command.arg("--socket").arg(self.state.join("control.sock"));
        command.args(["share", "--for", "24h", "--server", server]);
        let run = spawn_blocking(move || command.output()).await;
        let output = run.map_err(io::Error::other).flatten().map_err(Error::io("peercamctl"))?;
        let link = String::from_utf8_lossy(&output.stdout).trim_end().parse();
        link.map_err(|_| Error::Answer {
            what: "peercamctl share".to_owned(),
            answer: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The room it waits in.
    pub fn room(&self) -> &RoomId {
        &self.options.room
    }

    /// Its private key, by which tests make share links as its owner does. There is one once it
    /// has started.
    pub fn key(&self) -> Result<SecretKey> {
        let file = self.state.join("identity.pem");
        let what = format!("reading {}", file.display());
        let pem = fs::read_to_string(&file).map_err(Error::io(&what))?;
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        // PKCS #8 (RFC 8410 §7): 16 bytes that are always the same stand before the key.
        let der = BASE64.decode(body.as_bytes()).unwrap_or_default();
        let seed = der.get(16..48).and_then(|seed| seed.try_into().ok());
        let no_key = || Error::Answer { what, answer: "no Ed25519 key".to_owned() };
        seed.map(SecretKey::from_bytes).ok_or_else(no_key)
    }

    /// What kind of camera it is.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The end of its log.
    pub fn last_lines(&self) -> String {
        bed::tail(&self.log, 10)
    }

    /// Kills it without a word (SIGKILL), if it runs.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again with the same configuration and identity.
    pub fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut command = self.options.place.command(&self.program);
        command.arg("--config").arg(&self.config).env("RUST_LOG", &self.options.log);
        self.process = Some(Process::spawn("the agent", command, &self.log)?);
        Ok(())
    }

    /// Sends the agent a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::check)
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// All that it has logged.
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// How often it has started its encoders.
    pub fn encoder_starts(&self) -> usize {
        self.output().lines().filter(|line| line.contains("state=Starting")).count()
    }

    /// Ends it politely.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.stop(Duration::from_secs(5)).await?;
        }
        Ok(())
    }
}
