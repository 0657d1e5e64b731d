//! What a PATCH brings: `application/trickle-ice-sdpfrag` (RFC 8840 §9).

use peercam_protocol::signalling::Candidate;

use super::sdp::Credentials;

/// A fragment of a player's: candidates of one generation of ICE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Of the generation that the candidates belong to. Where it is not the running one, ICE is to
    /// be restarted. RFC 8840 has it always there; some players leave it out.
    pub credentials: Option<Credentials>,
    /// The last one empty where there will be no more.
    pub candidates: Vec<Candidate>,
}

impl Fragment {
    /// Reads a fragment with at most `most` candidates.
    ///
    /// # Errors
    ///
    /// In words for the player.
    pub fn parse(text: &str, most: usize) -> Result<Self, String> {
        let mut candidates = Vec::new();
        let mut mid = None;
        let mut complete = false;
        let mut credentials = false;
        for line in text.lines().filter(|line| !line.is_empty()) {
            // RFC 8866 §9: what ends lines elsewhere is no part of one.
            let odd = line.contains(['\r', '\0']);
            if odd || !matches!(line.as_bytes(), [b'a'..=b'z', b'=', ..]) {
                let line: String = line.chars().take(40).collect();
                return Err(format!("{line:?} is no line of a fragment (RFC 8840 §9)"));
            }
            if line.starts_with("m=") {
                mid = None;
            } else if let Some(value) = line.strip_prefix("a=mid:") {
                mid = Some(value.to_owned());
            } else if line.starts_with("a=ice-ufrag:") || line.starts_with("a=ice-pwd:") {
                credentials = true;
            } else if line == "a=end-of-candidates" {
                complete = true;
            } else if line.starts_with("a=candidate:") {
                if candidates.len() == most {
                    return Err(format!("more than {most} candidates: the limit"));
                }
                candidates.push(candidate(&line["a=".len()..], mid.clone()));
            }
        }
        let pair = Credentials::of(text);
        if credentials && pair.is_none() {
            return Err(
                "a=ice-ufrag and a=ice-pwd come together, as RFC 8839 §5.4 has them".to_owned()
            );
        }
        if complete {
            candidates.push(candidate("", mid));
        }
        for candidate in &mut candidates {
            candidate.username_fragment = pair.as_ref().map(|pair| pair.user.clone());
        }
        Ok(Self { credentials: pair, candidates })
    }
}

fn candidate(text: &str, sdp_mid: Option<String>) -> Candidate {
    Candidate {
        candidate: text.to_owned(),
        sdp_mid,
        // Everything runs over one transport (BUNDLE): the first section stands for it.
        sdp_m_line_index: Some(0),
        username_fragment: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAGMENT: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n\
        a=candidate:3471623853 1 udp 2122194687 198.51.100.2 61765 typ host\r\n\
        a=end-of-candidates\r\n";

    #[test]
    fn credentials_and_candidates_are_read() {
        let Fragment { credentials, candidates } = Fragment::parse(FRAGMENT, 2).unwrap();
        assert_eq!(credentials.unwrap().user, "EsAw");
        let lines: Vec<_> = candidates.iter().map(|one| one.candidate.as_str()).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("candidate:1387637174 ") && lines[2].is_empty());
        for one in candidates {
            assert_eq!(one.sdp_mid.as_deref(), Some("0"));
            assert_eq!(one.username_fragment.as_deref(), Some("EsAw"));
        }
        let restart = FRAGMENT.split("m=").next().unwrap();
        assert_eq!(Fragment::parse(restart, 2).unwrap().candidates, []);
        let bare = FRAGMENT.replace("a=ice", "a=x");
        assert_eq!(Fragment::parse(&bare, 2).unwrap().credentials, None);
    }

    #[test]
    fn any_garbage_is_borne() {
        for cut in 0..FRAGMENT.len() {
            let _ = Fragment::parse(&FRAGMENT[..cut], 2);
            let _ = Fragment::parse(&FRAGMENT[cut..], 2);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| Fragment::parse(text, 2).unwrap_err();
        assert!(refused("{\"candidate\":1}").contains("no line of a fragment"));
        assert!(refused("v=0\n\u{e4}\u{f6}=").contains("no line of a fragment"));
        let hidden = "a=candidate:1 1 udp 1 10.0.0.1 5 typ host\ra=ice-pwd:x\n";
        assert!(refused(hidden).contains("no line of a fragment"));
        assert!(refused("a=ice-ufrag:EsAw\n").contains("come together"));
        assert!(refused(&FRAGMENT.replace("EsAw", "no")).contains("come together"));
        let line = "a=candidate:1 1 udp 1 10.0.0.1 5 typ host\n";
        assert!(refused(&line.repeat(3)).contains("more than 2"));
    }
}
