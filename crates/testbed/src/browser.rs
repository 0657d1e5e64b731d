//! Headless Chromium, driven over WebDriver, with the flags of an ordinary viewer: addresses stay
//! hidden behind mDNS names, and no switch opens a door that a user's browser keeps closed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    Bed, Process, Stats,
    error::{Error, Result},
    net,
    network::{Place, place::Door},
    programs,
    stats::State,
    wait::{self, Look},
};

/// How long chromedriver and Chromium may take to start, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Size of the window in pixels.
const WINDOW: (u32, u32) = (1280, 800);

/// Size of a phone's screen in points.
const PHONE: (u32, u32) = (390, 844);

/// What pages are shown on.
#[derive(Debug, Clone, Copy)]
enum Screen {
    Desk,
    Phone,
}

/// Chromium's switches. The sandbox wants a user name space that containers and root don't have;
/// only pages of this machine are opened.
const SWITCHES: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
];

/// The page's own player, in JavaScript.
const PLAYER: &str = "document.querySelector('peercam-player')";

/// Body of a JavaScript function of `video`.
pub const READ_CLOCK: &str = include_str!("clock.js");

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    // Declared first, dropped first: the driver's group holds the browser too.
    driver: Process,
    client: Client,
    _door: Door,
}

impl Browser {
    /// Starts Chromium with a fresh profile.
    pub async fn start(bed: &Bed) -> Result<Self> {
        Self::start_in(bed, Place::Here, None).await
    }

    /// Starts Chromium with the screen of a phone: 390 by 844 points, for pages that are 390 wide
    /// then.
    pub async fn start_phone(bed: &Bed) -> Result<Self> {
        Self::launch(bed, Place::Here, None, Screen::Phone).await
    }

    /// Starts Chromium in a network, with a fresh profile and, if there is one, with this
    /// certificate authority (PEM) among those it trusts.
    pub async fn start_in(bed: &Bed, place: Place, authority: Option<&Path>) -> Result<Self> {
        Self::launch(bed, place, authority, Screen::Desk).await
    }

    async fn launch(
        bed: &Bed,
        place: Place,
        authority: Option<&Path>,
        screen: Screen,
    ) -> Result<Self> {
        let chromium = programs::chromium()?;
        let port = net::free_port()?;
        let profile = tempfile::Builder::new()
            .prefix("chromium-")
            .tempdir_in(bed.path())
            .map_err(Error::io("making a browser profile"))?
            .keep();
        let mut command = place.command(programs::chromedriver()?);
        command.arg(format!("--port={port}"));
        // Chromium leaves folders there when it is killed. A short name: a socket's path has at
        // most 107 bytes.
        let temporary = bed.file("t");
        std::fs::create_dir_all(&temporary)
            .map_err(Error::io(format!("making {}", temporary.display())))?;
        command.env("TMPDIR", &temporary);
        if let Some(authority) = authority {
            command.env("HOME", home_that_trusts(&profile, authority)?);
        }
        let mut driver = Process::spawn("chromedriver", command, &bed.file("chromedriver.log"))?;
        // chromedriver listens on loopback only.
        let door = place.door(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let server = door.address();
        wait::until("chromedriver to listen", START, async || {
            driver.check()?;
            Ok(match net::get(server, "/status").await {
                Ok((200, _)) => Look::Done(()),
                Ok((status, body)) => Look::NotYet(format!("it says {status} {body}")),
                Err(error) => Look::NotYet(error.to_string()),
            })
        })
        .await?;
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(&chromium, &profile, screen))
            .connect(&format!("http://{server}"))
            .await
            .map_err(|error| Error::Browser {
                what: format!("starting {}", chromium.display()),
                reason: error.to_string(),
            })?;
        Ok(Self { driver, client, _door: door })
    }

    /// Opens a page and waits until it is loaded.
    pub async fn open(&self, address: &str) -> Result<()> {
        self.client.goto(address).await.map_err(refused(format!("opening {address}")))
    }

    /// Loads the page again.
    pub async fn reload(&self) -> Result<()> {
        self.client.refresh().await.map_err(refused("loading the page again"))
    }

    /// Runs the body of a JavaScript function in the page and returns what it returns.
    pub async fn evaluate<T: DeserializeOwned>(&self, script: &str) -> Result<T> {
        let value = self.client.execute(script, vec![]).await;
        read(script, value.map_err(refused(format!("running {script:?}")))?)
    }

    /// The same for a body that awaits.
    pub async fn evaluate_async<T: DeserializeOwned>(&self, script: &str) -> Result<T> {
        let body = format!(
            "const done = arguments[arguments.length - 1]; \
             (async () => {{ {script} }})().then(done, error => done(`${{error}}`));"
        );
        let value = self.client.execute_async(&body, vec![]).await;
        read(script, value.map_err(refused(format!("running {script:?}")))?)
    }

    /// How long [`Browser::evaluate_async`] may take.
    pub async fn set_script_timeout(&self, limit: Duration) -> Result<()> {
        let timeouts = fantoccini::wd::TimeoutConfiguration::new(Some(limit), None, None);
        self.client.update_timeouts(timeouts).await.map_err(refused("setting its time limit"))
    }

    /// What the page's player says of itself.
    pub async fn stats(&self) -> Result<Stats> {
        self.stats_of(PLAYER).await
    }

    /// The same for a player that the JavaScript expression `player` names.
    async fn stats_of(&self, player: &str) -> Result<Stats> {
        self.evaluate(&format!("return {player}.stats")).await
    }

    /// Begins the player's longest freeze and its latency anew.
    pub async fn reset_stats(&self) -> Result<()> {
        self.evaluate(&format!("{PLAYER}.resetStats()")).await
    }

    /// The time that the camera drew into the frame shown now (see `peercam_media::clock`), in
    /// milliseconds since the Unix epoch. An error where no clock can be made out.
    pub async fn picture_time(&self) -> Result<f64> {
        self.evaluate(&format!(
            "const video = {PLAYER}.shadowRoot.querySelector('video'); {READ_CLOCK}"
        ))
        .await
    }

    /// What the page shows to a person, as text.
    pub async fn text(&self) -> Result<String> {
        // The player's words are in its shadow tree, out of reach of the page's `innerText`.
        self.evaluate(&format!(
            "const shadow = [...({PLAYER}?.shadowRoot?.children ?? [])]; \
             return [document.body, ...shadow].map(part => part.innerText ?? '').join('\\n')"
        ))
        .await
    }

    /// Waits until the player is in `state`.
    pub async fn wait_state(&self, state: State, deadline: Duration) -> Result<Stats> {
        self.wait_stats(&format!("the player to be {state:?}"), deadline, |stats| {
            stats.state == state
        })
        .await
    }

    /// Waits until picture and sound play and advance: from the moment of the call on, further
    /// frames and further sound are decoded.
    pub async fn wait_playing(&self, deadline: Duration) -> Result<Stats> {
        let mut before: Option<Stats> = None;
        self.wait_stats("picture and sound to advance", deadline, move |stats| {
            if stats.state != State::Playing {
                before = None;
                return false;
            }
            let first = before.get_or_insert_with(|| stats.clone());
            // Counters begin again with a new connection.
            if stats.frames_decoded < first.frames_decoded {
                *first = stats.clone();
            }
            stats.frames_decoded >= first.frames_decoded + 3.0
                && stats.audio_decoded > first.audio_decoded
        })
        .await
    }

    /// Waits until the player's figures are as `fit` wants them.
    pub async fn wait_stats(
        &self,
        what: &str,
        deadline: Duration,
        fit: impl FnMut(&Stats) -> bool,
    ) -> Result<Stats> {
        self.wait_stats_of(PLAYER, what, deadline, fit).await
    }

    /// The same for a player that the JavaScript expression `player` names.
    pub async fn wait_stats_of(
        &self,
        player: &str,
        what: &str,
        deadline: Duration,
        mut fit: impl FnMut(&Stats) -> bool,
    ) -> Result<Stats> {
        wait::until(what, deadline, async || {
            let stats = self.stats_of(player).await?;
            Ok(if fit(&stats) { Look::Done(stats) } else { Look::NotYet(format!("{stats:?}")) })
        })
        .await
    }

    /// Writes a picture of the page (PNG).
    pub async fn screenshot(&self, path: &Path) -> Result<()> {
        let png = self.client.screenshot().await.map_err(refused("taking a screenshot"))?;
        std::fs::write(path, png).map_err(Error::io(format!("writing {}", path.display())))
    }

    /// Its name and version.
    pub fn version(&self) -> Result<String> {
        let told = |key| self.client.capabilities()?.get(key)?.as_str();
        match (told("browserName"), told("browserVersion")) {
            (Some(name), Some(version)) => Ok(format!("headless {name} {version}")),
            _ => Err(Error::Browser {
                what: "telling its version".to_owned(),
                reason: "chromedriver did not say".to_owned(),
            }),
        }
    }

    /// The WebDriver client, for what has no method here.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the browser politely, then its driver.
    pub async fn stop(self) -> Result<()> {
        self.client.close().await.map_err(refused("closing"))?;
        self.driver.stop(Duration::from_secs(5)).await.map(|_| ())
    }
}

/// A home folder whose certificate store (NSS, which Chromium reads on Linux) holds `authority`.
fn home_that_trusts(profile: &Path, authority: &Path) -> Result<PathBuf> {
    let home = profile.join("home");
    let store = home.join(".pki/nssdb");
    std::fs::create_dir_all(&store).map_err(Error::io(format!("making {}", store.display())))?;
    let store = format!("sql:{}", store.display());
    let calls: [&[&str]; 2] =
        [&["-N", "--empty-password"], &["-A", "-n", "peercam test", "-t", "C,,", "-i"]];
    for arguments in calls {
        let mut command = Command::new("certutil");
        command.args(["-d", &store]).args(arguments);
        if arguments[0] == "-A" {
            command.arg(authority);
        }
        let output = command.output().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Missing {
                program: "certutil".to_owned(),
                remedy: "install it with scripts/setup (Debian package libnss3-tools)".to_owned(),
            },
            _ => Error::Io { what: "starting certutil".to_owned(), source },
        })?;
        if !output.status.success() {
            return Err(Error::Answer {
                what: format!("certutil {}", arguments[0]),
                answer: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
    }
    Ok(home)
}

fn capabilities(chromium: &Path, profile: &Path, screen: Screen) -> fantoccini::wd::Capabilities {
    let mut switches: Vec<_> = SWITCHES.iter().map(|&switch| switch.to_owned()).collect();
    switches.push(format!("--user-data-dir={}", profile.display()));
    switches.push(format!("--window-size={},{}", WINDOW.0, WINDOW.1));
    let mut options = json!({ "binary": chromium, "args": switches });
    if let Screen::Phone = screen {
        let metrics = json!({ "width": PHONE.0, "height": PHONE.1, "pixelRatio": 3 });
        options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
    }
    [("goog:chromeOptions".to_owned(), options)].into_iter().collect()
}

fn refused(what: impl Into<String>) -> impl FnOnce(fantoccini::error::CmdError) -> Error {
    let what = what.into();
    move |error| Error::Browser { what, reason: error.to_string() }
}

fn read<T: DeserializeOwned>(script: &str, value: Value) -> Result<T> {
    let answer = value.to_string();
    serde_json::from_value(value).map_err(|error| Error::Answer {
        what: format!("{script:?} in the page ({error})"),
        answer,
    })
}
