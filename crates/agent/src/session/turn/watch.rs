//! Reads what a TURN server answers, so that a server that refuses us is named in the log: the
//! library keeps such things to itself. Pure.

/// What an answer says about the allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There is one: media can be relayed.
    Allocated,
    /// The server refuses it for good: what it says (RFC 8656 §19, RFC 8489 §14.8).
    Refused(Refusal),
    /// The first 401, which tells realm and nonce: the server is there.
    Asked,
    /// Anything else.
    Other,
}

/// Why there is no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// STUN error code, 300 to 699.
    pub code: u16,
    /// The server's words, short and without control characters.
    pub reason: String,
}

const ALLOCATE_SUCCESS: u16 = 0x0103;
const ALLOCATE_ERROR: u16 = 0x0113;
const ALLOCATE_REQUEST: u16 = 0x0003;
const ATTRIBUTE_USERNAME: u16 = 0x0006;
const ATTRIBUTE_ERROR_CODE: u16 = 0x0009;
/// The server's words are shown up to here.
const REASON: usize = 64;

/// Whether `message` asks for an allocation.
pub fn is_request(message: &[u8]) -> bool {
    kind(message) == Some(ALLOCATE_REQUEST)
}

/// Whether `message` answers such a request.
pub fn is_answer(message: &[u8]) -> bool {
    matches!(kind(message), Some(ALLOCATE_SUCCESS | ALLOCATE_ERROR))
}

/// The transaction that `message` belongs to (RFC 8489 §5).
pub fn transaction(message: &[u8]) -> Option<[u8; 12]> {
    message.get(8..20)?.try_into().ok()
}

/// Whether `message` asks for an allocation with credentials.
pub fn is_signed_request(message: &[u8]) -> bool {
    kind(message) == Some(ALLOCATE_REQUEST) && attribute(message, ATTRIBUTE_USERNAME).is_some()
}

/// What `message` from the server says; `signed`: whether we have shown our credentials.
pub fn answer(message: &[u8], signed: bool) -> Answer {
    match kind(message) {
        Some(ALLOCATE_SUCCESS) => Answer::Allocated,
        Some(ALLOCATE_ERROR) => match attribute(message, ATTRIBUTE_ERROR_CODE) {
            Some(&[_, _, class, number, ref reason @ ..]) => {
                let code = u16::from(class & 7) * 100 + u16::from(number);
                if code == 401 && !signed {
                    return Answer::Asked;
                }
                let reason = String::from_utf8_lossy(reason);
                let reason = reason.chars().filter(|c| !c.is_control()).take(REASON).collect();
                Answer::Refused(Refusal { code, reason })
            }
            _ => Answer::Other,
        },
        _ => Answer::Other,
    }
}

impl Refusal {
    /// In words, with the way out.
    pub fn explain(&self) -> String {
        let Self { code, reason } = self;
        match code {
            401 | 441 => format!(
                "it refuses our user name or password ({code} {reason}): look at the rendezvous's \
                 ice-servers"
            ),
            437 => format!("it believes that we have a relay already ({code} {reason})"),
            438 => format!("our credentials aged while we asked ({code} {reason})"),
            442 | 440 => format!("it does not relay what we need ({code} {reason})"),
            486 => format!("too many relays for one user ({code} {reason}): raise its quota"),
            508 => format!("it is full ({code} {reason}): give it more ports"),
            _ => format!("it refuses to relay ({code} {reason})"),
        }
    }
}

fn kind(message: &[u8]) -> Option<u16> {
    match message {
        &[high, low, ..] if message.len() >= 20 => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// The value of the first attribute of this type (RFC 8489 §14).
fn attribute(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = message.get(20..)?;
    while let &[t0, t1, l0, l1, ref after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if u16::from_be_bytes([t0, t1]) == wanted {
            return after.get(..length);
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in attributes {
            body.extend(name.to_be_bytes());
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let length = u16::try_from(body.len()).unwrap();
        let mut message = [kind.to_be_bytes(), length.to_be_bytes()].concat();
        message.extend(0x2112_a442_u32.to_be_bytes());
        message.extend([0; 12]);
        message.extend(body);
        message
    }

    #[test]
    fn a_refusal_is_told_from_the_question_for_credentials() {
        let unauthorized = [&[0, 0, 4, 1][..], b"Unauthorized\n"].concat();
        let error = message(ALLOCATE_ERROR, &[(0x8022, b"x"), (9, &unauthorized)]);
        assert_eq!(answer(&error, false), Answer::Asked);
        let refusal = Refusal { code: 401, reason: "Unauthorized".into() };
        assert_eq!(answer(&error, true), Answer::Refused(refusal.clone()));
        assert!(refusal.explain().contains("user name or password"), "{}", refusal.explain());
        assert_eq!(answer(&message(ALLOCATE_SUCCESS, &[]), true), Answer::Allocated);
        assert!(is_signed_request(&message(ALLOCATE_REQUEST, &[(25, &[17, 0, 0, 0]), (6, b"a")])));
        assert!(!is_signed_request(&message(ALLOCATE_REQUEST, &[(25, &[17, 0, 0, 0])])));
    }

    #[test]
    fn lies_about_lengths_are_nothing() {
        let mut error = message(ALLOCATE_ERROR, &[(9, &[0, 0, 4, 1])]);
        error[23] = 200;
        assert_eq!(answer(&error, true), Answer::Other);
        let short = message(ALLOCATE_ERROR, &[(9, &[0, 0])]);
        assert_eq!(answer(&short, true), Answer::Other);
        assert_eq!(answer(&[1, 0x13], true), Answer::Other);
        assert_eq!(answer(&message(ALLOCATE_ERROR, &[(1, &[])])[..22], true), Answer::Other);
    }
}
