//! What an EvoStream command asks for, read from its parameters.

use std::collections::BTreeMap;

use peercam_protocol::{RoomId, room::RoomIdError};
use serde_json::Value;

use crate::{control_socket::messages::Parameters, hosts::Wish, rendezvous::ServerUrl};

/// Longest value of a parameter, in bytes.
const MAX_VALUE: usize = 1024;

/// Most characters of what was given that an answer repeats.
const MAX_REPEATED: usize = 80;

/// The port on which EvoStream's rendezvous server listens unless told otherwise.
const ERS_PORT: &str = "3535";

/// `startWebRTC`: what it takes, and what is known there but does nothing here.
const START: Allowed = Allowed {
    command: "startWebRTC",
    used: &["ersIP", "ersPort", "roomID", "token", "keepAlive", "ersOverSsl"],
    ignored: &[
        ("name", "the camera has no application names"),
        ("ers", "the server is named by ersIP"),
        ("sslCert", "a camera shows its own key; whom it trusts is rendezvous.ca"),
        ("sslKey", "a camera shows its own key; whom it trusts is rendezvous.ca"),
        ("operationType", "it follows from the command"),
        ("saveToConfig", "keepAlive decides that"),
    ],
};
const STOP: Allowed = Allowed { command: "stopWebRTC", used: &["configId"], ignored: &[] };
const LIST: Allowed = Allowed { command: "listConfig", used: &[], ignored: &[] };
const REMOVE: Allowed = Allowed {
    command: "removeConfig",
    used: &["id"],
    ignored: &[
        ("removeHlsHdsFiles", "there are no such files"),
        ("groupName", "rooms have no groups; id is what counts"),
    ],
};

/// What a command asks for.
#[derive(Debug)]
pub(super) struct Asked<T> {
    pub what: T,
    /// What was ignored of it, in words.
    remarks: Vec<String>,
}

/// Which rooms are to be left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// All that were added.
    Added,
    /// The one with this number.
    One(u32),
}

/// Reads `startWebRTC ersIP=… [ersPort=…] [roomID=…] [token=…] [keepAlive=0|1] [ersOverSsl=0|1]`.
/// `own` is the room for who names none. An error says in words what can't be understood.
pub(super) fn start(parameters: &Parameters, own: &RoomId) -> Result<Asked<Wish>, String> {
    let mut given = START.read(parameters)?;
    let what = wish(&mut given, own)?;
    Ok(Asked { what, remarks: given.remarks })
}

/// Reads `stopWebRTC [configId=N|all]`. An error is in words.
pub(super) fn stop(parameters: &Parameters) -> Result<Which, String> {
    match STOP.read(parameters)?.take("configId") {
        Some(id) if !id.eq_ignore_ascii_case("all") => number("configId", &id).map(Which::One),
        _ => Ok(Which::Added),
    }
}

/// Reads `listConfig`, which takes nothing. An error is in words.
pub(super) fn list(parameters: &Parameters) -> Result<(), String> {
    LIST.read(parameters).map(drop)
}

/// Reads `removeConfig id=N`. An error is in words.
pub(super) fn remove(parameters: &Parameters) -> Result<Asked<u32>, String> {
    let mut given = REMOVE.read(parameters)?;
    let id = given.take("id").ok_or("id is missing: listConfig shows the configId of each room")?;
    Ok(Asked { what: number("id", &id)?, remarks: given.remarks })
}

impl<T> Asked<T> {
    /// The sentence, with what was ignored.
    pub fn say(&self, sentence: &str) -> String {
        let mut words = sentence.to_owned();
        for remark in &self.remarks {
            words.push_str("; ");
            words.push_str(remark);
        }
        words
    }
}

/// The parameters of a command.
struct Allowed {
    command: &'static str,
    used: &'static [&'static str],
    /// With the reason.
    ignored: &'static [(&'static str, &'static str)],
}

/// What a person gave.
struct Given {
    values: BTreeMap<&'static str, String>,
    remarks: Vec<String>,
}

impl Allowed {
    fn read(&self, parameters: &Parameters) -> Result<Given, String> {
        let mut given = Given { values: BTreeMap::new(), remarks: Vec::new() };
        for (name, value) in &parameters.0 {
            let shown = short(name);
            let text = match value {
                Value::String(text) if text.len() <= MAX_VALUE => text.trim().to_owned(),
                Value::String(_) => return Err(format!("{shown} has more than {MAX_VALUE} bytes")),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                _ => return Err(format!("{shown} is no text, number or truth value")),
            };
            if let Some(used) = self.used.iter().find(|used| used.eq_ignore_ascii_case(name)) {
                if given.values.insert(used, text).is_some() {
                    return Err(format!("{used} is given twice"));
                }
                continue;
            }
            let ignored =
                self.ignored.iter().find(|(ignored, _)| ignored.eq_ignore_ascii_case(name));
            let (ignored, why) = ignored.ok_or_else(|| self.unknown(&shown))?;
            let remark = format!("{ignored} was ignored: {why}");
            if !given.remarks.contains(&remark) {
                given.remarks.push(remark);
            }
        }
        Ok(given)
    }

    fn unknown(&self, name: &str) -> String {
        let command = self.command;
        match self.used {
            [] => format!("{command} has no parameter {name:?}: it has none at all"),
            used => format!("{command} has no parameter {name:?}: use {}", used.join(", ")),
        }
    }
}

impl Given {
    fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name).filter(|value| !value.is_empty())
    }

    fn flag(&mut self, name: &str, default: bool) -> Result<bool, String> {
        match self.take(name).map(|text| text.to_ascii_lowercase()).as_deref() {
            None => Ok(default),
            Some("1" | "true") => Ok(true),
            Some("0" | "false") => Ok(false),
            Some(other) => Err(format!("{name}={}: use 0 or 1", short(other))),
        }
    }
}

fn wish(given: &mut Given, own: &RoomId) -> Result<Wish, String> {
    let host = given.take("ersIP").ok_or(
        "ersIP is missing: name the server, such as startWebRTC ersIP=192.0.2.7 ersPort=3535 \
         roomID=front-door",
    )?;
    let port = given.take("ersPort").unwrap_or_else(|| ERS_PORT.to_owned());
    let port: u16 = match port.parse() {
        Ok(port) if port > 0 => port,
        _ => return Err(format!("ersPort={} is no port: use 1 to 65535", short(&port))),
    };
    let secure = given.flag("ersOverSsl", false)?;
    let keep_alive = given.flag("keepAlive", true)?;
    let room = match given.take("roomID") {
        None => own.clone(),
        Some(name) => name.parse().map_err(|error: RoomIdError| {
            let lower: Result<RoomId, _> = name.to_lowercase().parse();
            let hint = lower.map(|room| format!(", such as {room}")).unwrap_or_default();
            format!("roomID={}: {error}{hint}", short(&name))
        })?,
    };
    let token = given.take("token");
    if token.as_ref().is_some_and(|token| !token.bytes().all(|c| c.is_ascii_graphic())) {
        return Err("token holds a character that can't stand in a header".to_owned());
    }
    let server = server(&host, port, secure);
    // Where no link can lead, nobody can watch.
    let server = server.filter(|server| server.watch_link(&room).is_some()).ok_or_else(|| {
        match host.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') && port.parse::<u16>().is_ok() => format!(
                "ersIP={} holds a port: write ersIP={} ersPort={port}",
                short(&host),
                short(name)
            ),
            _ => format!("ersIP={} is no address or name of a host", short(&host)),
        }
    })?;
    Ok(Wish { servers: vec![server], room, token, keep_alive })
}

/// None where `host` is not a host's name or address and nothing else.
fn server(host: &str, port: u16, secure: bool) -> Option<ServerUrl> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let authority = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
    let scheme = if secure { "wss" } else { "ws" };
    let server: ServerUrl = format!("{scheme}://{authority}:{port}").parse().ok()?;
    (server.host() == bare && server.port() == port).then_some(server)
}

fn number(name: &str, text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        let text = short(text);
        format!("{name}={text} is no number: listConfig shows the configId of each room")
    })
}

/// As much of what was given as an answer repeats.
fn short(text: &str) -> String {
    text.chars().take(MAX_REPEATED).collect()
}
