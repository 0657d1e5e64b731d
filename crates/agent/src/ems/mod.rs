//! Rooms as the users of the EvoStream Media Server manage them: `startWebRTC`, `stopWebRTC`,
//! `listConfig` and `removeConfig`, with that server's parameters and answers.
//!
//! Names are read in any case, and truth values as 0/1 or false/true, as there. A parameter that is
//! known there and makes no difference here is named in the answer. What differs stands in
//! `docs/coming-from-evostream.md`.
//!
//! | module | holds |
//! |---|---|
//! | `command` | what a command asks for, read from its parameters |

use peercam_protocol::RoomId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod command;

use crate::{
    control_socket::{Answer, messages::Parameters},
    hosts::{Error, Host, HostId, Hosts, Phase, State},
};
use command::Which;

/// What EvoStream calls this type of operation; scripts look for it.
const OPERATION_TYPE: u32 = 9;

/// A room, as `listConfig` shows it: EvoStream's names, and two of ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its number; 0 is the one from the configuration.
    pub config_id: u32,
    /// Host name or address of the server.
    pub ersip: String,
    /// Its port.
    pub ersport: u16,
    /// Whether it is reached by TLS.
    pub ers_over_ssl: bool,
    /// Whether the room is kept when the line breaks, and at a restart.
    pub keep_alive: bool,
    /// Always 9.
    pub operation_type: u32,
    /// The room.
    pub roomid: String,
    /// Empty, or `(hidden)` where there is one: answers land in logs.
    pub token: String,
    /// How it stands.
    pub status: EntryStatus,
    /// Ours: the address of the room's page, without what opens its door.
    pub page: Option<String>,
    /// Ours: why it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// How a room stands, and how it stood before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntryStatus {
    /// Now.
    pub current: EntryPhase,
    /// Before that.
    pub previous: EntryPhase,
}

/// How a room stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntryPhase {
    /// 3: connected, as there; 1: connecting.
    pub code: u32,
    /// The same as a word.
    pub description: String,
    /// Since when, in seconds after 1970.
    pub timestamp: u64,
}

impl From<&Phase> for EntryPhase {
    fn from(phase: &Phase) -> Self {
        let (code, description) = match phase.state {
            State::Connecting => (1, "Connecting"),
            State::Hosting(_) => (3, "Connected"),
        };
        Self { code, description: description.to_owned(), timestamp: phase.since }
    }
}

/// The answer to `listConfig`: rooms are all we have, the other kinds are there and empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct List {
    dash: Vec<Value>,
    hds: Vec<Value>,
    hls: Vec<Value>,
    mss: Vec<Value>,
    process: Vec<Value>,
    pull: Vec<Value>,
    push: Vec<Value>,
    record: Vec<Value>,
    /// The rooms.
    pub webrtc: Vec<Entry>,
}

impl Entry {
    fn of(id: HostId, host: &Host) -> Self {
        let server = host.server();
        Self {
            config_id: id.0,
            ersip: server.host().to_owned(),
            ersport: server.port(),
            ers_over_ssl: server.is_secure(),
            keep_alive: host.wish.keep_alive,
            operation_type: OPERATION_TYPE,
            roomid: host.wish.room.to_string(),
            token: host.wish.token.as_ref().map_or("", |_| "(hidden)").to_owned(),
            status: EntryStatus {
                current: EntryPhase::from(&host.phase),
                previous: EntryPhase::from(&host.before),
            },
            page: server.watch_link(&host.wish.room).map(|link| link.to_string()),
            trouble: host.trouble.clone().filter(|_| !host.is_hosting()),
        }
    }
}

/// `startWebRTC ersIP=… [ersPort=…] [roomID=…] [token=…] [keepAlive=0|1] [ersOverSsl=0|1]`. `own`
/// is the room for who names none.
pub fn start(hosts: &mut Hosts, parameters: &Parameters, own: &RoomId) -> Answer {
    let begun = command::start(parameters, own).and_then(|asked| {
        let words = asked.say("Started WebRTC Negotiation Service");
        let id = hosts.add(asked.what).map_err(|error| error.to_string())?;
        Ok(Answer::success(words, hosts.get(id).map(|host| Entry::of(id, host))))
    });
    begun.unwrap_or_else(Answer::failure)
}

/// `listConfig`
pub fn list(hosts: &Hosts, parameters: &Parameters) -> Answer {
    match command::list(parameters) {
        Ok(()) => {
            let webrtc = hosts.iter().map(|(id, host)| Entry::of(id, host)).collect();
            Answer::success("Run-time configuration", List { webrtc, ..List::default() })
        }
        Err(problem) => Answer::failure(problem),
    }
}

/// `stopWebRTC [configId=N|all]`: all that were added, or one. The rooms that were left are the
/// caller's, to end their sessions and close them.
pub fn stop(hosts: &mut Hosts, parameters: &Parameters) -> (Answer, Vec<(HostId, Host)>) {
    match command::stop(parameters) {
        Ok(Which::Added) => stop_all(hosts),
        Ok(Which::One(id)) => leave(hosts, id, "Stopped WebRTC Negotiation Service".to_owned()),
        Err(problem) => (Answer::failure(problem), Vec::new()),
    }
}

/// `removeConfig id=N`
pub fn remove(hosts: &mut Hosts, parameters: &Parameters) -> (Answer, Vec<(HostId, Host)>) {
    match command::remove(parameters) {
        Ok(asked) => leave(hosts, asked.what, asked.say("Configuration terminated")),
        Err(problem) => (Answer::failure(problem), Vec::new()),
    }
}

fn leave(hosts: &mut Hosts, id: u32, done: String) -> (Answer, Vec<(HostId, Host)>) {
    let id = HostId(id);
    match hosts.remove(id) {
        Ok(host) => (Answer::success(done, Entry::of(id, &host)), vec![(id, host)]),
        Err(error) => (Answer::failure(error.to_string()), Vec::new()),
    }
}

fn stop_all(hosts: &mut Hosts) -> (Answer, Vec<(HostId, Host)>) {
    let ids: Vec<HostId> =
        hosts.iter().map(|(id, _)| id).filter(|id| *id != HostId::CONFIGURED).collect();
    let mut left = Vec::new();
    let mut problem: Option<Error> = None;
    for id in ids {
        match hosts.remove(id) {
            Ok(host) => left.push((id, host)),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    let entries: Vec<_> = left.iter().map(|(id, host)| Entry::of(*id, host)).collect();
    let answer = match problem {
        Some(error) => Answer::failure(error.to_string()),
        None => Answer::success("Stopped WebRTC Negotiation Service", entries),
    };
    (answer, left)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parameters(text: &str) -> Parameters {
        Parameters::of_words(text.split_whitespace()).unwrap()
    }

    fn hosts(folder: &Path) -> Hosts {
        crate::hosts::start(folder, None)
    }

    fn own() -> RoomId {
        RoomId::from_public_key(&[7; 32])
    }

    #[tokio::test]
    async fn the_documented_command_works_in_any_case() {
        let folder = tempfile::tempdir().unwrap();
        let mut hosts = hosts(folder.path());
        let given = parameters("ERSIP=127.0.0.1 ersport=9 roomid=front-door sslCert=a Token=x");
        let answer = start(&mut hosts, &given, &own());
        let entry: Entry = answer.read().unwrap();
        assert_eq!((entry.config_id, entry.ersip.as_str(), entry.ersport), (1, "127.0.0.1", 9));
        assert_eq!((entry.roomid.as_str(), entry.token.as_str()), ("front-door", "(hidden)"));
        assert!(entry.keep_alive && !entry.ers_over_ssl);
        assert!(answer.description.starts_with("Started WebRTC Negotiation Service"));
        assert!(answer.description.contains("sslCert was ignored"), "{}", answer.description);
        assert_eq!(answer.data["operationType"], 9);
        let list: List = list(&hosts, &parameters("")).read().unwrap();
        assert_eq!(list.webrtc.len(), 1);
        assert_eq!(hosts.get(HostId(1)).unwrap().wish.token.as_deref(), Some("x"));
    }

    #[tokio::test]
    async fn ports_rooms_and_tls_have_their_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let mut hosts = hosts(folder.path());
        let answer = start(&mut hosts, &parameters("ersip=::1 ersOverSsl=true"), &own());
        let entry: Entry = answer.read().unwrap();
        assert_eq!((entry.ersport, entry.roomid), (3535, own().to_string()));
        let server = &hosts.get(HostId(1)).unwrap().wish.servers[0];
        assert_eq!(server.to_string(), "wss://[::1]:3535");
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut hosts = hosts(folder.path());
        for (text, words) in [
            ("", &["ersIP is missing"][..]),
            ("ersIP=1.2.3.4 ersPort=0", &["ersPort=0", "65535"]),
            ("ersIP=1.2.3.4 ersPort=http", &["ersPort=http"]),
            ("ersIP=1.2.3.4 roomID=testRoom", &["testRoom", "'R'", "such as testroom"]),
            ("ersIP=1.2.3.4/x", &["ersIP="]),
            ("ersIP=1.2.3.4:8080", &["ersIP=1.2.3.4 ersPort=8080"]),
            ("ersIP=zIP=", &["ersIP=zIP= is no address"]),
            ("ersIP=a:b", &["ersIP=a:b is no address"]),
            ("ersIP=[[::1]]", &["ersIP="]),
            ("ersIP=a@b", &["ersIP="]),
            ("ersIP=1.2.3.4 keepAlive=maybe", &["keepAlive=maybe", "0 or 1"]),
            ("ersIP=1.2.3.4 token=ä", &["token"]),
            ("ersIP=1.2.3.4 colour=red", &["colour", "roomID"]),
            ("ersIP=1.2.3.4 ersip=1.2.3.4", &["twice"]),
        ] {
            let answer = start(&mut hosts, &parameters(text), &own());
            assert!(!answer.is_success(), "{text}");
            for word in words {
                assert!(answer.description.contains(word), "{text}: {}", answer.description);
            }
        }
        assert!(hosts.is_empty());
        let list = list(&hosts, &parameters("all=1"));
        assert!(list.description.contains("listConfig has no parameter"), "{}", list.description);
    }

    #[tokio::test]
    async fn rooms_are_left_one_by_one_or_all_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut hosts = hosts(folder.path());
        for room in ["a", "b", "c", "d"] {
            let given = parameters(&format!("ersIP=127.0.0.1 ersPort=9 roomID={room}"));
            assert!(start(&mut hosts, &given, &own()).is_success());
        }
        let (answer, left) = remove(&mut hosts, &parameters("id=2 removeHlsHdsFiles=1"));
        assert!(answer.description.starts_with("Configuration terminated; removeHlsHdsFiles"));
        assert_eq!(left.len(), 1);
        let (answer, left) = stop(&mut hosts, &parameters("configId=3"));
        assert_eq!((answer.read::<Entry>().unwrap().roomid.as_str(), left.len()), ("c", 1));
        for wrong in ["id=2", "id=x", "id=-1", ""] {
            let (answer, left) = remove(&mut hosts, &parameters(wrong));
            assert!(!answer.is_success() && left.is_empty(), "{wrong}");
            assert!(answer.description.contains("listConfig"), "{}", answer.description);
        }
        let (answer, left) = stop(&mut hosts, &parameters(""));
        assert_eq!(answer.read::<Vec<Entry>>().unwrap().len(), 2);
        assert_eq!((left.len(), hosts.is_empty()), (2, true));
    }
}
