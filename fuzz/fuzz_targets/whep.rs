//! The bodies of WHEP: a player's offer, the answer that its camera gives, and the fragments of
//! SDP by which candidates follow (`application/trickle-ice-sdpfrag`).
//!
//! - What was read names no more candidates than it may, each of the generation it came with.
//! - An offer that is restarted is an offer again, with the new credentials and no old candidates.
//! - An answer keeps its lines, and candidates come to stand in it once.
//! - The fragment that a restart is answered with can be read.

#![no_main]

#[path = "../../crates/rendezvous/src/whep/fragment.rs"]
mod fragment;
#[path = "../../crates/rendezvous/src/whep/sdp.rs"]
mod sdp;

use fragment::Fragment;
use libfuzzer_sys::fuzz_target;
use sdp::{Answer, Credentials, Offer};

const MOST: usize = 4;
const CANDIDATE: &str = "candidate:1 1 udp 1 192.0.2.1 5 typ host";

fuzz_target!(|text: &str| {
    read_fragment(text);
    restart(text);
    answer(text);
});

fn read_fragment(text: &str) {
    match Fragment::parse(text, MOST) {
        Ok(Fragment { credentials, candidates }) => {
            assert_eq!(credentials, Credentials::of(text));
            // And the end of them.
            assert!(candidates.len() <= MOST + 1);
            for candidate in &candidates {
                let user = credentials.as_ref().map(|pair| pair.user.as_str());
                assert_eq!(candidate.username_fragment.as_deref(), user);
                assert!(!candidate.candidate.contains(['\n', '\r']), "one line: {candidate:?}");
                assert!(!candidate.sdp_mid.iter().any(|mid| mid.contains(['\n', '\r'])));
            }
        }
        Err(problem) => assert!(problem.len() < 1000, "{} bytes", problem.len()),
    }
}

fn restart(text: &str) {
    let Ok(first) = Offer::parse(text.to_owned()) else { return };
    assert_eq!(first.text(), text);
    let password = "0123456789abcdefABCDEF+/".to_owned();
    let next = Credentials { user: "next".to_owned(), password };
    let second = first.restarted(next.clone());
    assert_eq!((second.credentials(), second.restarts()), (&next, 1));
    assert!(second.is_former(first.credentials()));
    assert!(!second.text().lines().any(|line| line.starts_with("a=candidate:")));
    let again = Offer::parse(second.text().to_owned()).expect("an offer");
    assert_eq!(again.credentials(), &next);
}

fn answer(text: &str) {
    let candidates = vec![CANDIDATE.to_owned()];
    let answer = Answer { sdp: text.to_owned(), candidates, complete: true };
    let whole = answer.with_candidates();
    let added = [format!("a={CANDIDATE}"), "a=end-of-candidates".to_owned()];
    let lines: Vec<_> = whole.lines().collect();
    let before: Vec<_> = text.lines().collect();
    match lines.len() - before.len() {
        // No section is there to carry them.
        0 => assert_eq!(lines, before),
        _ => {
            let at = (0..lines.len() - 1).find(|&at| {
                lines[at..at + 2] == added && [&lines[..at], &lines[at + 2..]].concat() == before
            });
            assert!(at.is_some(), "{whole:?}");
        }
    }
    // What a camera writes ends its lines as SDP does.
    let odd = text.replace("\r\n", "\n").contains(['\r', '\0']);
    if let Some(fragment) = answer.as_fragment().filter(|_| !odd) {
        let read = Fragment::parse(&fragment, MOST).expect("a fragment");
        assert_eq!(read.credentials, Credentials::of(text));
        // None where there is no section to name.
        assert!(matches!(read.candidates.len(), 0 | 2), "{fragment:?}");
    }
}
