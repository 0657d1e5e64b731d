//! The camera's control socket: a line as any program on the camera may write it, and EvoStream's
//! commands in it; the same commands as a command line has them.
//!
//! - What was read is written and read again as the same.
//! - A server that a room is to be looked for on can be kept: its address is written and read
//!   again as the same, and so is the address of its page.
//! - What is said about it is short, however long it was.

#![no_main]

// The modules alone: the crate around them would bring GStreamer under the sanitizer.
#[path = "../../crates/agent/src/ems/command.rs"]
#[allow(dead_code)]
mod command;
#[path = "../../crates/agent/src/control_socket/messages.rs"]
#[allow(dead_code)]
mod messages;
#[path = "../../crates/agent/src/rendezvous/url.rs"]
#[allow(dead_code)]
mod url;
#[path = "../../crates/agent/src/hosts/wish.rs"]
mod wish;

mod control_socket {
    pub(crate) use crate::messages;
}
mod hosts {
    pub(crate) use crate::wish::Wish;
}
mod rendezvous {
    pub(crate) use crate::url::ServerUrl;
}

use libfuzzer_sys::fuzz_target;
use messages::{Parameters, Request};
use peercam_protocol::{RoomId, ShareLink};
use wish::Wish;

/// Longest thing that is said, in bytes.
const SAID: usize = 4000;

fuzz_target!(|text: &str| {
    match Request::parse(text.as_bytes()) {
        Ok(request) => {
            let line = serde_json::to_vec(&request).expect("a request is JSON");
            assert!(!line.contains(&b'\n'));
            assert_eq!(Request::parse(&line).as_ref(), Ok(&request));
            match &request {
                Request::StartWebRtc(parameters)
                | Request::StopWebRtc(parameters)
                | Request::ListConfig(parameters)
                | Request::RemoveConfig(parameters) => obey(parameters),
                _ => {}
            }
        }
        Err(problem) => assert!(problem.len() < SAID, "{} bytes", problem.len()),
    }
    if let Ok(parameters) = Parameters::of_words(text.split_whitespace()) {
        obey(&parameters);
    }
});

fn obey(parameters: &Parameters) {
    let own: RoomId = "own".parse().expect("a room");
    let said = [
        match command::start(parameters, &own) {
            Ok(asked) => {
                check(&asked.what);
                asked.say("started")
            }
            Err(problem) => problem,
        },
        command::stop(parameters).map_or_else(|problem| problem, |_| String::new()),
        command::list(parameters).map_or_else(|problem| problem, |()| String::new()),
        match command::remove(parameters) {
            Ok(asked) => asked.say("removed"),
            Err(problem) => problem,
        },
    ];
    for words in said {
        assert!(words.len() < SAID, "{} bytes: {words}", words.len());
    }
}

fn check(wish: &Wish) {
    let [server] = &wish.servers[..] else { panic!("one server: {wish:?}") };
    assert_eq!(server.to_string().parse().as_ref(), Ok(server));
    assert!(server.port() > 0 && !server.host().is_empty());
    if server.host().contains(':') {
        let address = server.host().split('%').next().expect("what stands before %");
        assert!(address.parse::<std::net::Ipv6Addr>().is_ok(), "{server}");
    }
    let token = wish.token.as_deref().unwrap_or("a");
    assert!(!token.is_empty() && token.bytes().all(|c| c.is_ascii_graphic()));
    let link: ShareLink = server.watch_link(&wish.room).expect("it has no path");
    assert_eq!(link.to_string().parse().as_ref(), Ok(&link));
}
