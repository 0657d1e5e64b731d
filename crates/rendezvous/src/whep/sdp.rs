//! The little that a WHEP session changes in offers and answers (SDP, RFC 8866), line by line: what
//! a player or a camera means by the rest is between the two of them.

use std::fmt::Write;

/// User fragment and password of one generation of ICE (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those of an offer, an answer or a fragment: one pair for all sections (BUNDLE). None where
    /// one of the two is missing, or is not what RFC 8839 allows.
    pub fn of(sdp: &str) -> Option<Self> {
        let user = value(sdp, USER)?;
        let password = value(sdp, PASSWORD)?;
        let fits = |text: &str, least| {
            (least..=256).contains(&text.len())
                && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
        };
        (fits(user, 4) && fits(password, 22))
            .then(|| Self { user: user.to_owned(), password: password.to_owned() })
    }
}

const USER: &str = "a=ice-ufrag:";
const PASSWORD: &str = "a=ice-pwd:";
const CANDIDATE: &str = "a=candidate:";
const NO_MORE_CANDIDATES: &str = "a=end-of-candidates";

/// A player's offer.
#[derive(Debug)]
pub(super) struct Offer {
    sdp: String,
    /// Of the generation that runs.
    credentials: Credentials,
    /// Of the one before.
    former: Option<Credentials>,
    /// How often ICE was restarted.
    restarts: u64,
}

impl Offer {
    /// Checks no more than what a restart needs; the rest is for the camera to say.
    ///
    /// # Errors
    ///
    /// In words for the player.
    pub fn parse(sdp: String) -> Result<Self, &'static str> {
        if !sdp.starts_with("v=0") || !sdp.contains("\nm=") {
            return Err("the body is no offer: it begins with v=0 and has media sections \
                        (SDP, RFC 8866)");
        }
        let credentials = Credentials::of(&sdp)
            .ok_or("the offer has no a=ice-ufrag and a=ice-pwd as WebRTC needs them (RFC 8839)")?;
        Ok(Self { sdp, credentials, former: None, restarts: 0 })
    }

    /// Of the generation that runs.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Whether these are of the generation before: what comes with them has been overtaken by a
    /// restart.
    pub fn is_former(&self, credentials: &Credentials) -> bool {
        self.former.as_ref() == Some(credentials)
    }

    /// As the player sent it.
    pub fn text(&self) -> &str {
        &self.sdp
    }

    /// The player's next offer, as he would have made it: the same with other credentials, no
    /// candidates of the former generation, and a version that is one higher (RFC 8829 §5.2.2).
    pub fn restarted(&self, credentials: Credentials) -> Self {
        let restarts = self.restarts + 1;
        let mut sdp = String::with_capacity(self.sdp.len());
        for line in self.sdp.lines() {
            // Writing to a String can't fail.
            _ = if line.starts_with(USER) {
                writeln!(sdp, "{USER}{}\r", credentials.user)
            } else if line.starts_with(PASSWORD) {
                writeln!(sdp, "{PASSWORD}{}\r", credentials.password)
            } else if let Some(origin) = line.strip_prefix("o=") {
                writeln!(sdp, "o={}\r", next_version(origin))
            } else if line.starts_with(CANDIDATE) || line.starts_with(NO_MORE_CANDIDATES) {
                Ok(())
            } else {
                writeln!(sdp, "{line}\r")
            };
        }
        Self { sdp, credentials, former: Some(self.credentials.clone()), restarts }
    }

    /// How often ICE was restarted: what its entity tag is made of.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }
}

/// `<user> <id> <version> …` with the next version.
fn next_version(origin: &str) -> String {
    let fields = origin.split(' ').enumerate().map(|(at, field)| match field.parse::<u64>() {
        Ok(version) if at == 2 => version.wrapping_add(1).to_string(),
        _ => field.to_owned(),
    });
    fields.collect::<Vec<_>>().join(" ")
}

/// What a camera answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub sdp: String,
    /// `candidate:…`, those that came in time.
    pub candidates: Vec<String>,
    /// Whether these are all.
    pub complete: bool,
}

impl Answer {
    /// The answer with the candidates in its first section that is not refused: all media runs over
    /// the transport of that one (RFC 9143 §9.2).
    pub fn with_candidates(&self) -> String {
        let mut sdp = String::with_capacity(self.sdp.len() + 128 * self.candidates.len());
        let mut carrier = Carrier::Sought;
        for line in self.sdp.lines() {
            if line.starts_with("m=") {
                carrier = match carrier {
                    Carrier::Sought if refused(line) => Carrier::Sought,
                    Carrier::Sought => Carrier::Here,
                    Carrier::Here => {
                        self.write_candidates(&mut sdp);
                        Carrier::Done
                    }
                    Carrier::Done => Carrier::Done,
                };
            }
            sdp.push_str(line);
            sdp.push_str("\r\n");
        }
        if carrier == Carrier::Here {
            self.write_candidates(&mut sdp);
        }
        sdp
    }

    /// What a player has to know of the answer to his restart of ICE (RFC 9725 §4.3.3). None where
    /// the answer has no credentials.
    pub fn as_fragment(&self) -> Option<String> {
        let Credentials { user, password } = Credentials::of(&self.sdp)?;
        let mut fragment = format!("{USER}{user}\r\n{PASSWORD}{password}\r\n");
        let mut lines =
            self.sdp.lines().skip_while(|line| !line.starts_with("m=") || refused(line));
        if let Some(section) = lines.next() {
            let mut fields = section.split(' ');
            let (kind, protocol) = (fields.next().unwrap_or_default(), fields.nth(1));
            let protocol = protocol.unwrap_or("UDP/TLS/RTP/SAVPF");
            // RFC 8840 §9.2: a fragment names no port and no format.
            fragment.push_str(&format!("{kind} 9 {protocol} 0\r\n"));
            let mut attributes = lines.take_while(|line| !line.starts_with("m="));
            if let Some(mid) = attributes.find(|line| line.starts_with("a=mid:")) {
                fragment.push_str(&format!("{mid}\r\n"));
            }
            self.write_candidates(&mut fragment);
        }
        Some(fragment)
    }

    fn write_candidates(&self, sdp: &mut String) {
        for candidate in &self.candidates {
            sdp.push_str("a=");
            sdp.push_str(candidate);
            sdp.push_str("\r\n");
        }
        if self.complete {
            sdp.push_str(NO_MORE_CANDIDATES);
            sdp.push_str("\r\n");
        }
    }
}

/// Where the section is that carries the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Sought,
    Here,
    Done,
}

/// Whether the section of an `m=` line is refused: its port is 0 (RFC 3264 §6).
fn refused(section: &str) -> bool {
    section.split(' ').nth(1) == Some("0")
}

/// The value of the first line that begins so.
fn value<'a>(sdp: &'a str, prefix: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| line.strip_prefix(prefix)).map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD_1: &str = "V0crLfwe+T04604M8QduCNFb";
    const PASSWORD_2: &str = "another-password-is-bad-";

    fn offer() -> String {
        format!(
            "v=0\r\no=- 67 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:io2I\r\na=ice-pwd:{PASSWORD_1}\r\n\
             a=mid:0\r\na=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\na=end-of-candidates\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:io2I\r\na=ice-pwd:{PASSWORD_1}\r\n\
             a=mid:1\r\n"
        )
    }

    #[test]
    fn a_restarted_offer_differs_in_what_ice_is_about() {
        let first = Offer::parse(offer()).unwrap();
        let password = "0123456789abcdefABCDEF+/";
        let credentials = Credentials { user: "abcd".to_owned(), password: password.to_owned() };
        let second = first.restarted(credentials.clone());
        assert_eq!(Credentials::of(second.text()).unwrap(), credentials);
        let expected = offer()
            .replace("io2I", "abcd")
            .replace(PASSWORD_1, password)
            .replace("o=- 67 2 ", "o=- 67 3 ")
            .replace("a=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\na=end-of-candidates\r\n", "");
        assert_eq!(second.text(), expected);
        assert_eq!((first.restarts(), second.restarts()), (0, 1));
        assert!(second.is_former(first.credentials()) && !second.is_former(&credentials));
    }

    #[test]
    fn what_is_no_offer_is_told_so() {
        assert!(Offer::parse("let me in".to_owned()).unwrap_err().contains("no offer"));
        assert!(Offer::parse("v=0\r\ns=-\r\n".to_owned()).unwrap_err().contains("no offer"));
        for without in ["a=ice-ufrag", "a=ice-pwd"] {
            let sdp = offer().replace(without, "a=x");
            assert!(Offer::parse(sdp).unwrap_err().contains("a=ice-ufrag"));
        }
        let sdp = offer().replace(PASSWORD_1, PASSWORD_2);
        assert!(Offer::parse(sdp).is_err(), "a character that is not allowed");
        assert!(Offer::parse(offer().replace("io2I", "io2")).is_err(), "too short");
    }

    fn answer() -> Answer {
        Answer {
            sdp: format!(
                "v=0\r\ns=-\r\nm=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
                 m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:cam1\r\na=ice-pwd:{PASSWORD_1}\r\n\
                 a=mid:1\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n"
            ),
            candidates: vec!["candidate:1 1 udp 1 10.0.0.1 5 typ host".to_owned()],
            complete: true,
        }
    }

    #[test]
    fn candidates_stand_in_the_section_that_carries_the_others() {
        let lines = "a=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\na=end-of-candidates\r\n";
        let sdp = answer().with_candidates();
        assert!(sdp.contains(&format!("a=mid:1\r\n{lines}m=application")), "{sdp}");
        let mut one = answer();
        one.sdp = one.sdp.split("m=application").next().unwrap().to_owned();
        one.complete = false;
        let sdp = one.with_candidates();
        assert!(sdp.ends_with("a=mid:1\r\na=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\n"), "{sdp}");
    }

    #[test]
    fn the_answer_to_a_restart_is_a_fragment() {
        let fragment = answer().as_fragment().unwrap();
        let expected = format!(
            "a=ice-ufrag:cam1\r\na=ice-pwd:{PASSWORD_1}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\n\
             a=mid:1\r\na=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\na=end-of-candidates\r\n"
        );
        assert_eq!(fragment, expected);
        assert!(Answer::default().as_fragment().is_none());
    }

    #[test]
    fn any_garbage_is_borne() {
        let (offer, answer) = (offer(), answer().sdp);
        for cut in 0..offer.len() {
            if let Ok(offer) = Offer::parse(offer[..cut].to_owned()) {
                offer.restarted(offer.credentials().clone());
            }
        }
        for cut in 0..answer.len() {
            let answer = Answer { sdp: answer[cut..].to_owned(), ..Answer::default() };
            answer.with_candidates();
            answer.as_fragment();
        }
    }
}
