//! What is asked on the control socket, and what is answered.
//!
//! A request is a JSON object with its name under `"command"`, such as `{"command":"status"}`. Four
//! of them are those of the EvoStream Media Server, with its parameters and its names, in which
//! case makes no difference: see [`crate::ems`].

use std::collections::{BTreeMap, BTreeSet};

use peercam_protocol::{
    Action, PublicKey, RoomId,
    signalling::{Door, Transport},
    wire,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Largest request, in bytes with its line feed.
pub const MAX_REQUEST: usize = 16 * 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the camera is: answered with [`Status`].
    Status {},
    /// A token by which somebody may watch, and the link with it: answered with [`Shared`].
    Share(Wanted),
    /// What was shared, the latest first: answered with a list of [`crate::access::Listed`].
    Shares {},
    /// Take back the token with this id, or all shares with this label, at once. Answered with how
    /// many shares that were; 0 where it may be one that an owner's key signed.
    Revoke {
        /// Id or label.
        name: String,
    },
    /// Take back all tokens that were made up to now, at once. Answered with how many shares were
    /// among them.
    RevokeAll {},
    /// Go to a room on a server and wait there for viewers: answered with [`crate::ems::Entry`].
    #[serde(rename = "startWebRTC", alias = "startwebrtc")]
    StartWebRtc(Parameters),
    /// Leave one or all of those rooms for good.
    #[serde(rename = "stopWebRTC", alias = "stopwebrtc")]
    StopWebRtc(Parameters),
    /// The rooms the camera waits in.
    #[serde(rename = "listConfig", alias = "listconfig")]
    ListConfig(Parameters),
    /// Leave one of those rooms for good.
    #[serde(rename = "removeConfig", alias = "removeconfig")]
    RemoveConfig(Parameters),
}

impl Request {
    /// Reads a line of at most [`MAX_REQUEST`] bytes.
    ///
    /// # Errors
    ///
    /// In words, of which few are what was sent.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| {
            let problem = wire::shorten(error.to_string());
            format!(r#"this is no request: {problem}; one looks like {{"command":"status"}}"#)
        })
    }
}

/// What a share is to allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wanted {
    /// The room it opens; none: the one with the lowest number that the camera waits in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomId>,
    /// What the viewer may do; none named: to watch.
    #[serde(default)]
    pub allow: BTreeSet<Action>,
    /// How long it is good, in seconds: 1 to ten years.
    #[serde(default = "a_day")]
    pub valid_for_seconds: u64,
    /// From when on, in seconds after 1970; none: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// For a single session.
    #[serde(default)]
    pub once: bool,
    /// Bound to no key, as WHEP players need it.
    #[serde(default)]
    pub bearer: bool,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where viewers find the server, such as `https://cam.example.org`, if not where the camera
    /// finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

fn a_day() -> u64 {
    24 * 3600
}

/// A share. Whoever has its link may watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shared {
    /// By which it can be revoked.
    pub id: String,
    /// The room it opens.
    pub room: RoomId,
    /// The address to open, or to hand on.
    pub link: String,
    /// The token by itself, for who is asked for one: only where it is bound to no key, since any
    /// other is of no use alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Until when it is good, in seconds after 1970.
    pub expires: u64,
}

/// The parameters of an EvoStream command, as texts, numbers or truth values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parameters(pub BTreeMap<String, serde_json::Value>);

impl Parameters {
    /// Reads `name=value`, each a word of a command line.
    ///
    /// # Errors
    ///
    /// In words, where it is something else, or one is given twice.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut read = Self::default();
        for word in words {
            let (name, value) = word
                .split_once('=')
                .ok_or_else(|| format!("{word:?} is no parameter: write it as name=value"))?;
            if read.0.insert(name.to_owned(), value.into()).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(read)
    }
}

/// What is answered: `{"data": …, "description": "…", "status": "SUCCESS"}`, the form that the
/// EvoStream Media Server gives its answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What was asked for; what it is depends on the request. `null` where there is nothing to say.
    #[serde(default)]
    pub data: serde_json::Value,
    /// One sentence for people. In a failure: what went wrong, and the way out.
    pub description: String,
    /// Whether it was done.
    pub status: Outcome,
}

/// Whether a request was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// Yes.
    Success,
    /// No.
    Fail,
}

impl Answer {
    /// It was done.
    pub fn success(description: impl Into<String>, data: impl Serialize) -> Self {
        // Our own types, with nothing in them that JSON can't.
        let data = serde_json::to_value(data).unwrap_or_default();
        Self { data, description: description.into(), status: Outcome::Success }
    }

    /// It was not done, in words.
    pub fn failure(description: impl Into<String>) -> Self {
        let data = serde_json::Value::Null;
        Self { data, description: description.into(), status: Outcome::Fail }
    }

    /// Whether it was done.
    pub fn is_success(&self) -> bool {
        self.status == Outcome::Success
    }

    /// The data as what the request promises.
    ///
    /// # Errors
    ///
    /// In words, where it is something else: the other end has another version.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        T::deserialize(&self.data).map_err(|error| {
            format!(
                "the camera's answer is not what was asked for ({error}): is its version another?"
            )
        })
    }
}

/// How the camera is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// For how long it has run, in seconds.
    pub uptime_seconds: u64,
    /// Why the watchdog runs it in safe mode, in words; missing otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe_mode: Option<String>,
    /// What its watchdog tells of the device; missing without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceStatus>,
    /// The camera's key.
    pub key: PublicKey,
    /// Who may come into its rooms.
    pub door: Door,
    /// The rooms it waits in.
    pub hosts: Vec<HostStatus>,
    /// Most viewers at once.
    pub max_viewers: usize,
    /// Those who watch.
    pub viewers: Vec<ViewerStatus>,
}

/// How the device is, as `peercam-watchdog` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// For how long it has run, in seconds.
    pub uptime_seconds: u64,
    /// How often it was started.
    pub starts: u64,
    /// Resets without a while of running well, or a stop on purpose, in between.
    pub resets_in_a_row: u64,
    /// The latest reset; missing where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reset: Option<ResetStatus>,
    /// Whether it is about to be reset.
    pub resetting: bool,
    /// How often the watchdog's services failed.
    pub failures: u64,
}

/// A reset of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetStatus {
    /// For how long the device has run since, in seconds. Time without power doesn't count.
    pub seconds_ago: u64,
    /// Who did it: `watchdog`, `kernel`, `hardware` or `unknown`.
    pub kind: String,
    /// Why, in words.
    pub reason: String,
}

/// A room that the camera waits in, or is on its way to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its number: 0 is the configured one.
    pub config_id: u32,
    /// The room.
    pub room: RoomId,
    /// The server it is on, or else the preferred one.
    pub server: String,
    /// Whether viewers find the camera there now.
    pub hosting: bool,
    /// Since when that is so, in seconds after 1970.
    pub since: u64,
    /// The address of the room's page, without anything that opens its door. None where the
    /// server sits behind a path.
    pub page: Option<String>,
    /// Why it is not hosting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Somebody who watches. Who he is and where nobody is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewerStatus {
    /// The room he came by.
    pub config_id: u32,
    /// How media travels.
    pub transport: Transport,
    /// For how long he has watched, in seconds.
    pub seconds: u64,
    /// Whether the way to him is lost for the moment.
    pub path_lost: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_line_that_a_person_can_write() {
        let read = |text: &str| Request::parse(text.as_bytes());
        assert_eq!(read(r#"{"command":"status"}"#).unwrap(), Request::Status {});
        let start = read(r#"{"command":"startWebRTC","ersIP":"127.0.0.1","ersPort":3535}"#);
        let Ok(Request::StartWebRtc(parameters)) = start else { panic!("{start:?}") };
        assert_eq!(parameters.0["ersPort"], 3535);
        for wrong in ["", "{}", r#"{"command":"format"}"#, r#"{"command":"status","all":true}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let long = format!(r#"{{"command":"{}"}}"#, "x".repeat(10_000));
        let problem = read(&long).unwrap_err();
        assert!(problem.len() < 1000 && problem.contains("listConfig"), "{problem}");
    }

    #[test]
    fn an_answer_has_the_form_that_people_know() {
        let answer = Answer::success("done", 3);
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(text, r#"{"data":3,"description":"done","status":"SUCCESS"}"#);
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap().read(), Ok(3));
        assert!(answer.read::<Status>().unwrap_err().contains("version"));
        assert!(serde_json::to_string(&Answer::failure("no")).unwrap().contains("\"FAIL\""));
    }
}
