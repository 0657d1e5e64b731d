//! An offer that restarts ICE (RFC 8445 §9, RFC 8829 §5.2.1) of a session that runs.
//!
//! The library applies an offer step by step, and one that it refuses half-way has changed the
//! connection already. So an offer is compared with the running one here, before the library sees
//! it: everything that the session stands on has to be as it was, and only the way there may differ.

use std::{collections::BTreeSet, io::Cursor, time::Duration};

use peercam_protocol::signalling::{Error, ErrorCode, Transport};
use rtc::sdp::{SessionDescription, description::common::Attribute};
use tokio::time::Instant;

use super::offer::{Offer, RtpOffer};

/// Restarts that one viewer may have at once, and in how much time he earns another. Each costs
/// new sockets, and new allocations on TURN servers.
const RESTARTS: u32 = 10;
const EARNED: Duration = Duration::from_secs(6);

/// How many restarts a viewer may still have. Time is passed in.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    /// All of them.
    pub fn new(now: Instant) -> Self {
        Self { left: RESTARTS, since: now }
    }

    /// Takes one.
    ///
    /// # Errors
    ///
    /// When none is left; of a kind that does not end the session.
    pub fn take(&mut self, now: Instant) -> Result<(), Error> {
        while self.left < RESTARTS && now.saturating_duration_since(self.since) >= EARNED {
            self.left += 1;
            self.since += EARNED;
        }
        if self.left == RESTARTS {
            self.since = now;
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            refusal(format!("more than {RESTARTS} restarts in a minute: try again in a while"))
        })?;
        Ok(())
    }
}

/// What a session stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ground {
    transport: Transport,
    /// Kind and `mid` of each section, in order (RFC 8829 §5.2.2: sections are never moved).
    sections: Vec<(String, Option<String>)>,
    /// Of the viewer's DTLS certificate: who he is.
    fingerprints: BTreeSet<String>,
    /// What the viewer numbers how, of the codecs in use (`108 H264/90000`).
    codecs: BTreeSet<String>,
    /// User fragment and password of the running generation of ICE.
    credentials: Option<(String, String)>,
}

/// What a viewer wants with an offer for a running session.
#[derive(Debug)]
pub(super) enum Renewal {
    /// A new generation of ICE: the offer (SDP), and what the session stands on with it.
    Restart { sdp: String, ground: Ground },
    /// The offer that is being served already: its answer was lost with the line it went by.
    Repeat,
}

impl Ground {
    /// What a session with this offer stands on.
    ///
    /// # Errors
    ///
    /// It is no SDP.
    pub fn of(offer: &Offer, transport: Transport) -> Result<Self, Error> {
        let description = SessionDescription::unmarshal(&mut Cursor::new(offer.sdp.as_bytes()))
            .map_err(|error| refusal(format!("it is no SDP: {error}")))?;
        let media = &description.media_descriptions;
        let all = || {
            media.iter().map(|media| &media.attributes).chain([&description.attributes]).flatten()
        };
        let sections = media
            .iter()
            .map(|media| {
                let mid = value(media.attributes.iter(), "mid").map(str::to_owned);
                (media.media_name.media.clone(), mid)
            })
            .collect();
        let fingerprints = all()
            .filter(|attribute| attribute.key == "fingerprint")
            .filter_map(|attribute| Some(attribute.value.as_deref()?.to_ascii_uppercase()))
            .collect();
        // One transport for all sections (BUNDLE), so one pair for all of them.
        let credentials = value(all(), "ice-ufrag")
            .zip(value(all(), "ice-pwd"))
            .map(|(user, password)| (user.to_owned(), password.to_owned()));
        let numbers = offer.rtp.as_ref().map(payload_types).unwrap_or_default();
        let codecs = all()
            .filter(|attribute| attribute.key == "rtpmap")
            .filter_map(|attribute| attribute.value.clone())
            .filter(|codec| numbers.iter().any(|number| codec.starts_with(number)))
            .collect();
        Ok(Self { transport, sections, fingerprints, codecs, credentials })
    }

    /// Whether `sdp` can take the place of this.
    ///
    /// # Errors
    ///
    /// With what is different; of a kind that does not end the session.
    pub fn renew(&self, sdp: String, transport: Transport) -> Result<Renewal, Error> {
        if transport != self.transport {
            return Err(refusal(format!(
                "the session's transport is {:?}, not {:?}: join anew to change it",
                self.transport.as_str(),
                transport.as_str()
            )));
        }
        let offer = Offer::parse(sdp, transport).map_err(|error| refusal(error.message))?;
        let new = Self::of(&offer, transport)?;
        if new.credentials.is_none() {
            return Err(refusal("it has no a=ice-ufrag and a=ice-pwd".to_owned()));
        }
        let same = [
            ("sections", new.sections == self.sections),
            ("fingerprint", new.fingerprints == self.fingerprints),
            ("codecs", new.codecs == self.codecs),
        ];
        if let Some((what, _)) = same.into_iter().find(|(_, same)| !same) {
            return Err(refusal(format!(
                "its {what} differ from the session's: use the same RTCPeerConnection, or join anew"
            )));
        }
        if new.credentials == self.credentials {
            return Ok(Renewal::Repeat);
        }
        Ok(Renewal::Restart { sdp: offer.sdp, ground: new })
    }
}

/// The numbers in use, each as its `a=rtpmap` begins.
fn payload_types(rtp: &RtpOffer) -> Vec<String> {
    let video = [Some(rtp.video.codec.payload_type), rtp.video.retransmission];
    let audio = rtp.audio.as_ref().map(|audio| audio.payload_type);
    video.into_iter().chain([audio]).flatten().map(|number| format!("{number} ")).collect()
}

fn value<'a>(mut attributes: impl Iterator<Item = &'a Attribute>, key: &str) -> Option<&'a str> {
    attributes.find(|attribute| attribute.key == key)?.value.as_deref()
}

/// None of these ends the session that runs.
fn refusal(problem: String) -> Error {
    Error::new(ErrorCode::BadMessage, format!("the offer can't restart the session: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROMIUM: &str = include_str!("offer_chromium.sdp");

    fn sdp(text: &str) -> String {
        text.replace('\n', "\r\n")
    }

    fn ground() -> Ground {
        let offer = Offer::parse(sdp(CHROMIUM), Transport::Rtp).unwrap();
        Ground::of(&offer, Transport::Rtp).unwrap()
    }

    fn user_fragment() -> &'static str {
        CHROMIUM.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap()
    }

    fn restarted() -> String {
        CHROMIUM.replace(user_fragment(), "NEWu")
    }

    fn refused(text: &str, transport: Transport) -> String {
        let error = ground().renew(sdp(text), transport).unwrap_err();
        assert!(!error.code.ends_session(), "{error}");
        error.message
    }

    #[test]
    fn new_credentials_restart_and_the_same_ones_are_a_repeat() {
        let Renewal::Restart { sdp: text, ground: new } =
            ground().renew(sdp(&restarted()), Transport::Rtp).unwrap()
        else {
            panic!("a restart");
        };
        assert!(text.contains("a=ice-ufrag:NEWu"));
        assert!(matches!(new.renew(sdp(&restarted()), Transport::Rtp), Ok(Renewal::Repeat)));
        assert!(matches!(ground().renew(sdp(CHROMIUM), Transport::Rtp), Ok(Renewal::Repeat)));
    }

    #[test]
    fn what_the_session_stands_on_must_stay() {
        let new = restarted();
        assert!(refused(&new, Transport::Fmp4).contains("transport"));
        assert!(refused("v=0 garbage", Transport::Rtp).contains("no SDP"));
        let line = new.lines().find(|line| line.starts_with("a=fingerprint:")).unwrap();
        let stranger = new.replace(line, &line.replace(|c: char| c.is_ascii_digit(), "0"));
        assert!(refused(&stranger, Transport::Rtp).contains("fingerprint"));
        let moved = new.replace("a=mid:0", "a=mid:7");
        assert!(refused(&moved, Transport::Rtp).contains("sections"));
        let renumbered = new.replace("108", "98");
        assert!(refused(&renumbered, Transport::Rtp).contains("codecs"));
        let without: String = new
            .lines()
            .filter(|line| !line.starts_with("a=ice-ufrag"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(refused(&without, Transport::Rtp).contains("ice-ufrag"));
    }

    #[test]
    fn restarts_are_earned_again_with_time() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let taken = |allowance: &mut Allowance, at: Instant| {
            (0..50).filter(|_| allowance.take(at).is_ok()).count()
        };
        assert_eq!(taken(&mut allowance, start), 10);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(5)), 0);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(6)), 1);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(3600)), 10);
        let error = allowance.take(start + Duration::from_secs(3600)).unwrap_err();
        assert!(!error.code.ends_session(), "{error}");
    }

    #[test]
    fn any_garbage_is_refused_and_nothing_panics() {
        let (new, ground) = (restarted(), ground());
        for cut in (0..new.len()).step_by(7) {
            let _ = ground.renew(sdp(&new[..cut]), Transport::Rtp);
        }
    }
}
