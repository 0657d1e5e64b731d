//! `peercamctl share`, `shares`, `revoke`

use std::{
    collections::BTreeSet,
    io::{IsTerminal, stderr, stdout},
    path::PathBuf,
    time::Duration,
};

use peercam_agent::{
    access::{self, Listed, ShareState},
    control_socket::{
        Answer, Request,
        messages::{Shared, Wanted},
    },
    share::{self, Place},
};
use peercam_protocol::{Action, PublicKey, RoomId, ShareLink};

use crate::{Common, Failure, agent, owner_key, qr, say, words};

/// Make a link by which somebody may watch
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  peercamctl share
      for a day, to watch; with a QR code to scan on a terminal
  peercamctl share --for 2h --once --label plumber
      for one visit within two hours; peercamctl revoke plumber ends it before
  peercamctl share --for 90d --allow watch,talk --server https://cam.example.org
      where viewers find the server by another name than the camera does
  peercamctl share --bearer
      a token for a WHEP player; whoever sees it can use it. The camera must allow such
      ones: [access] bearer = true
  peercamctl share --owner-key owner.pem --camera KEY --server https://cam.example.org
      without the camera, by a key that stands in its [access] owner-keys

The link is all that somebody needs, so hand it on as you would a key: what stands behind the # goes
to no server, and the camera lets in nobody who does not have it. Standard output is the link;
the QR code goes to standard error. It is 77 characters wide where the server's address has up to
26 characters and the camera signs, for one visit or for many; with an owner's key it is 85.")]
pub struct Arguments {
    /// How long it is good: 90s, 30m, 24h, 7d, 2w
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = words::parse_duration)]
    valid_for: Duration,

    /// What it allows: watch, talk, control, clips
    #[arg(long, value_name = "ACTIONS", default_value = "watch", value_delimiter = ',')]
    allow: Vec<Action>,

    /// For one visit only
    #[arg(long)]
    once: bool,

    /// Bound to no key, for WHEP players; prints the token, too
    #[arg(long)]
    bearer: bool,

    /// What you call it, for shares and revoke
    #[arg(long, value_name = "NAME")]
    label: Option<String>,

    /// The room it opens, of several that the camera waits in [default: the one configured]
    #[arg(long, value_name = "ROOM")]
    room: Option<RoomId>,

    /// Where viewers find the server [default: where the camera is connected]
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    /// Draw a QR code, wherever the output goes
    #[arg(long)]
    qr: bool,

    /// Sign with this owner's key, without asking the camera (see peercamctl owner-key)
    #[arg(
        long,
        value_name = "FILE",
        requires = "camera",
        requires = "server",
        conflicts_with = "label"
    )]
    owner_key: Option<PathBuf>,

    /// The camera's key, as peercamctl status shows it; for --owner-key
    #[arg(long, value_name = "KEY", requires = "owner_key")]
    camera: Option<PublicKey>,
}

impl Arguments {
    /// The verb.
    pub fn run(&self, common: &Common) -> Result<(), Failure> {
        let wanted = Wanted {
            room: self.room.clone(),
            allow: BTreeSet::from_iter(self.allow.iter().copied()),
            valid_for_seconds: self.valid_for.as_secs(),
            not_before: None,
            once: self.once,
            bearer: self.bearer,
            label: self.label.clone(),
            server: self.server.clone(),
        };
        let shared = match (&self.owner_key, &self.camera, &self.server) {
            (Some(file), Some(camera), Some(server)) => {
                let shared = by_owner(file, camera, server, &wanted)?;
                if common.json {
                    agent::print(&Answer::success("Who has this link may watch", &shared))?;
                }
                shared
            }
            _ => agent::ask::<Shared>(common, &Request::Share(wanted))?.0,
        };
        if !common.json {
            say::data(&shared.link)?;
            if let Some(token) = &shared.token {
                say::data(token)?;
                if let Ok(link) = shared.link.parse::<ShareLink>() {
                    let (origin, room) = (link.origin(), link.room());
                    say::hint(format_args!("a WHEP player's address: {origin}/whep/{room}"));
                }
            }
            let left = words::duration(shared.expires.saturating_sub(words::now()));
            let id = &shared.id;
            say::hint(format_args!("good for {left}; peercamctl revoke {id} ends it before"));
        }
        let people = !common.json && stdout().is_terminal() && stderr().is_terminal();
        if self.qr || people {
            match qr::draw(&shared.link, if self.qr { None } else { qr::columns() }) {
                Ok(picture) => say::hint(picture.trim_end_matches('\n')),
                Err(problem) => say::hint(format_args!("no QR code: {problem}")),
            }
        }
        Ok(())
    }
}

/// Signed here, with nobody asked.
fn by_owner(
    file: &std::path::Path,
    camera: &PublicKey,
    server: &str,
    wanted: &Wanted,
) -> Result<Shared, Failure> {
    let key = owner_key::read(file).map_err(|error| Failure::Refused(error.to_string()))?;
    let own = || RoomId::from_public_key(camera.as_bytes());
    let room = wanted.room.clone().unwrap_or_else(own);
    let place = Place { origin: server.to_owned(), room };
    let link = place.link().map_err(Failure::Usage)?;
    let minted = access::mint(access::Signer::Owner(&key), &place.terms(wanted), words::now());
    let minted = minted.map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(share::shared(link, *camera, minted))
}

/// List what was shared, the latest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Links that an owner's key signed are not among them: the camera hears of those when they are used.
For programs: peercamctl shares --json | jq .data")]
pub struct List {}

impl List {
    /// The verb.
    pub fn run(&self, common: &Common) -> Result<(), Failure> {
        let (list, _) = agent::ask::<Vec<Listed>>(common, &Request::Shares {})?;
        if !common.json {
            let now = words::now();
            list.iter().try_for_each(|listed| say::data(describe(listed, now)))?;
        }
        Ok(())
    }
}

fn describe(Listed { share, state }: &Listed, now: u64) -> String {
    let actions: Vec<_> = share.actions.iter().map(|action| action.as_str()).collect();
    let state = match state {
        ShareState::Good => {
            format!("good for {}", words::duration(share.expires.saturating_sub(now)))
        }
        ShareState::NotYet => "not good yet".to_owned(),
        ShareState::Expired => "expired".to_owned(),
        ShareState::Used => "used".to_owned(),
        ShareState::Revoked => "revoked".to_owned(),
    };
    let label = share.label.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
    let once = if share.once { ", for one visit" } else { "" };
    let bearer = if share.bearer { ", bearer" } else { "" };
    format!(
        "{}{label}: room {}, {}{once}{bearer}: {state}",
        share.id,
        share.room,
        actions.join(",")
    )
}

/// Take links back at once: who watches by them is cut off
#[derive(Debug, clap::Args)]
#[command(after_help = "\
  peercamctl revoke 2xk5q7hzn3gma    the one that shares lists with this id
  peercamctl revoke plumber          all that were given this label
  peercamctl revoke --all            all that were made up to now, by owners' keys too")]
pub struct Revoke {
    /// Id or label; of a link that an owner's key signed, the id that was printed with it
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,

    /// All that were made up to now
    #[arg(long)]
    all: bool,
}

impl Revoke {
    /// The verb.
    pub fn run(&self, common: &Common) -> Result<(), Failure> {
        let request = match &self.name {
            Some(name) => Request::Revoke { name: name.clone() },
            None => Request::RevokeAll {},
        };
        let (count, said) = agent::ask::<usize>(common, &request)?;
        if !common.json {
            say::hint(said);
            say::data(count)?;
        }
        Ok(())
    }
}
