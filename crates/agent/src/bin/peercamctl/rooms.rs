//! `peercamctl startWebRTC`, `stopWebRTC`, `listConfig`, `removeConfig`: the commands of the
//! EvoStream Media Server, with its parameters as `name=value`.

use peercam_agent::{
    control_socket::{Request, messages::Parameters},
    ems::{self, Entry},
};

use crate::{Common, Failure, agent, say, words};

/// Wait in one more room, from now on and after every restart
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Parameters, in any case (ersip, ERSIP …):
  ersIP=HOST          the rendezvous server; needed
  ersPort=PORT        its port; default 3535
  roomID=NAME         the room; default: the room that belongs to the camera's key
  ersOverSsl=0|1      reach the server by TLS (wss); default 0
  keepAlive=0|1       come back when the line breaks, and after a restart; default 1
  token=TEXT          shown to the server as \"Authorization: Bearer TEXT\", for a gateway in
                      front of it; peercam-rendezvous itself knows cameras by their keys
  sslCert, sslKey, name, ers, operationType, saveToConfig: taken and ignored

Examples:
  peercamctl startWebRTC ersIP=192.0.2.7 ersPort=8080 roomID=front-door
  peercamctl startwebrtc ersip=cam.example.org ersport=443 ersOverSsl=1 --json

A room on a server is served once: a second time is refused. SUCCESS says that the camera is on
its way; peercamctl status says whether it has arrived.")]
pub struct Start {
    #[command(flatten)]
    given: Given,
}

/// Leave the rooms that were added, for good: those who watch there hear bye
#[derive(Debug, clap::Args)]
#[command(after_help = "\
  peercamctl stopWebRTC                all that were added
  peercamctl stopWebRTC configId=all   the same
  peercamctl stopWebRTC configId=2     that one
The room from the configuration stays.")]
pub struct Stop {
    #[command(flatten)]
    given: Given,
}

/// List the rooms; configId 0 is the one from the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "For programs: peercamctl listConfig --json | jq .data.webrtc")]
pub struct List {
    #[command(flatten)]
    given: Given,
}

/// Leave one room that was added, for good: those who watch there hear bye
#[derive(Debug, clap::Args)]
#[command(after_help = "  peercamctl removeConfig id=2     the number is listConfig's configId")]
pub struct Remove {
    #[command(flatten)]
    given: Given,
}

#[derive(Debug, clap::Args)]
struct Given {
    /// name=value
    #[arg(value_name = "NAME=VALUE")]
    parameters: Vec<String>,
}

impl Given {
    fn read(&self) -> Result<Parameters, Failure> {
        let words = self.parameters.iter().map(String::as_str);
        Parameters::of_words(words).map_err(Failure::Usage)
    }
}

impl Start {
    /// The verb.
    pub fn run(&self, common: &Common) -> Result<(), Failure> {
        one(common, &Request::StartWebRtc(self.given.read()?))
    }
}

impl Stop {
    /// The verb.
    pub fn run(&self, common: &Common) -> Result<(), Failure> {
        let request = Request::StopWebRtc(self.given.read()?);
        let (data, said) = agent::ask::<OneOrSeveral>(common, &request)?;
        let entries = match data {
            OneOrSeveral::One(entry) => vec![*entry],
            OneOrSeveral::Several(entries) => entries,
        };
        show(common, &said, &entries)
    }
}

impl List {
    /// The verb.
    pub fn run(&self, common: &Common) -> Result<(), Failure> {
        let request = Request::ListConfig(self.given.read()?);
        let (list, said) = agent::ask::<ems::List>(common, &request)?;
        show(common, &said, &list.webrtc)
    }
}

impl Remove {
    /// The verb.
    pub fn run(&self, common: &Common) -> Result<(), Failure> {
        one(common, &Request::RemoveConfig(self.given.read()?))
    }
}

/// `stopWebRTC` answers with the room it was given, or with all.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OneOrSeveral {
    One(Box<Entry>),
    Several(Vec<Entry>),
}

/// What is answered with one room.
fn one(common: &Common, request: &Request) -> Result<(), Failure> {
    let (entry, said) = agent::ask::<Entry>(common, request)?;
    show(common, &said, &[entry])
}

fn show(common: &Common, said: &str, entries: &[Entry]) -> Result<(), Failure> {
    if common.json {
        return Ok(());
    }
    say::hint(said);
    entries.iter().try_for_each(|entry| say::data(describe(entry)))
}

fn describe(entry: &Entry) -> String {
    let Entry { config_id, ersip, ersport, roomid, .. } = entry;
    let current = &entry.status.current;
    let since = words::duration(words::now().saturating_sub(current.timestamp));
    let state = current.description.to_lowercase();
    let tls = if entry.ers_over_ssl { " by TLS" } else { "" };
    let passing = if entry.keep_alive { "" } else { ", not kept alive" };
    let trouble = entry.trouble.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
    format!(
        "configId {config_id}: room {roomid} on {ersip}:{ersport}{tls}, {state} for {since}{passing}{trouble}"
    )
}
