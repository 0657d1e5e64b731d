//! `peercamctl`: asks the camera's agent for something, on the camera itself.
//!
//! | module | holds |
//! |---|---|
//! | `agent` | the line to the agent's control socket |
//! | `status` | `status` |
//! | `share` | `share`, `shares`, `revoke` |
//! | `qr` | QR codes in a terminal |
//! | `owner_key` | `owner-key` |
//! | `rooms` | `startWebRTC`, `stopWebRTC`, `listConfig`, `removeConfig` |
//! | `say` | what goes out |
//! | `words` | times as people say them |
//!
//! Standard output is data; hints and errors go to standard error. With `--json` the data is the
//! agent's answer, on one line.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use peercam_agent::config::CONTROL_SOCKET;

mod agent;
mod owner_key;
mod qr;
mod rooms;
mod say;
mod share;
mod status;
mod words;

const AFTER_HELP: &str = "\
Examples:
  peercamctl status
      which rooms the camera waits in, and who watches
  peercamctl share --for 2h
      a link by which somebody may watch for two hours
  peercamctl revoke --all
      all links are void, who watches by one is cut off
  peercamctl startWebRTC ersIP=192.0.2.7 ersPort=8080 roomID=front-door
      wait in one more room, from now on and after every restart
  peercamctl listConfig
  peercamctl removeConfig id=1

The agent's control socket is where [control] socket in its configuration says. Only root, the
agent's user and the group of the socket's file may use it.

Exit codes: 0 done; 1 refused or failed; 2 wrong arguments; 3 no agent answers.";

/// Asks the camera on this machine for its state, says who may watch it, and where it waits for
/// viewers.
#[derive(Debug, Parser)]
#[command(name = "peercamctl", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    common: Common,

    #[command(subcommand)]
    verb: Verb,
}

/// What all verbs share.
#[derive(Debug, Args)]
struct Common {
    /// The agent's control socket
    #[arg(long, global = true, value_name = "PATH", default_value = CONTROL_SOCKET)]
    socket: PathBuf,

    /// Print the agent's answer as one line of JSON: data, description, status
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Status(status::Arguments),
    Share(share::Arguments),
    Shares(share::List),
    Revoke(share::Revoke),
    OwnerKey(owner_key::Arguments),
    #[command(name = "startWebRTC")]
    StartWebRtc(rooms::Start),
    #[command(name = "stopWebRTC")]
    StopWebRtc(rooms::Stop),
    #[command(name = "listConfig")]
    ListConfig(rooms::List),
    #[command(name = "removeConfig")]
    RemoveConfig(rooms::Remove),
}

/// Why it was not done; each has its exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The agent, or this program, says no.
    #[error("{0}")]
    Refused(String),
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// No agent.
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }
}

fn main() -> ExitCode {
    let Arguments { common, verb } = Arguments::parse_from(spelled_as_ours(std::env::args_os()));
    let done = match verb {
        Verb::Status(arguments) => arguments.run(&common),
        Verb::Share(arguments) => arguments.run(&common),
        Verb::Shares(arguments) => arguments.run(&common),
        Verb::Revoke(arguments) => arguments.run(&common),
        Verb::OwnerKey(arguments) => arguments.run(&common),
        Verb::StartWebRtc(arguments) => arguments.run(&common),
        Verb::StopWebRtc(arguments) => arguments.run(&common),
        Verb::ListConfig(arguments) => arguments.run(&common),
        Verb::RemoveConfig(arguments) => arguments.run(&common),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::hint(format_args!("peercamctl: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

/// EvoStream's commands are known in any case (`startwebrtc`): its own documentation mixes them.
fn spelled_as_ours(arguments: impl Iterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let known = ["startWebRTC", "stopWebRTC", "listConfig", "removeConfig"];
    let mut arguments: Vec<_> = arguments.collect();
    let verb = arguments.iter_mut().skip(1).find_map(|argument| {
        let known = known.iter().find(|known| argument.eq_ignore_ascii_case(known))?;
        Some((argument, known))
    });
    if let Some((argument, known)) = verb {
        *argument = known.into();
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_in_any_case_and_parameters_stay_as_they_are() {
        for verb in ["startwebrtc", "STARTWEBRTC", "startWebrtc"] {
            let given = ["peercamctl", verb, "roomID=stopwebrtc", "stopwebrtc"];
            let read = spelled_as_ours(given.iter().map(std::ffi::OsString::from));
            assert_eq!(read, ["peercamctl", "startWebRTC", "roomID=stopwebrtc", "stopwebrtc"]);
        }
    }
}
