//! Every message survives the round trip; nothing a peer sends can do worse than an error.
#![allow(clippy::unwrap_used)]

use peercam_protocol::{
    Nonce, PublicKey, RoomId, SecretKey, Signature,
    control::{Event, Request, Stream},
    signalling::*,
    wire::{MAX_MESSAGE_SIZE, decode, encode},
};
use proptest::prelude::*;

fn room() -> impl Strategy<Value = RoomId> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|name| name.parse().unwrap())
}

fn candidate() -> impl Strategy<Value = Candidate> {
    (any::<String>(), any::<Option<String>>(), any::<Option<u16>>(), any::<Option<String>>())
        .prop_map(|(candidate, sdp_mid, sdp_m_line_index, username_fragment)| Candidate {
            candidate,
            sdp_mid,
            sdp_m_line_index,
            username_fragment,
        })
}

fn ice_servers() -> impl Strategy<Value = Vec<IceServer>> {
    let server = (
        prop::collection::vec(any::<String>(), 0..3),
        any::<Option<String>>(),
        any::<Option<String>>(),
    );
    prop::collection::vec(
        server.prop_map(|(urls, username, credential)| IceServer { urls, username, credential }),
        0..3,
    )
}

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Rtp), Just(Transport::Fmp4)]
}

fn reason() -> impl Strategy<Value = ByeReason> {
    use ByeReason::*;
    prop::sample::select(vec![ViewerLeft, CameraLeft, CameraStopping, ConnectionLost, Other])
}

fn error() -> impl Strategy<Value = Error> {
    use ErrorCode::*;
    let code = prop::sample::select(vec![
        BadRoom,
        RoomTaken,
        RoomClaimed,
        NotListed,
        BadProof,
        TokenMissing,
        TokenInvalid,
        TokenForAnotherRoom,
        TokenExpired,
        TokenNotYetValid,
        TokenUsed,
        TokenRevoked,
        TokenNotYours,
        NotAllowed,
        SentAway,
        CameraOffline,
        Full,
        BadMessage,
        UnknownType,
        TooLarge,
        TooFast,
        OutOfOrder,
        BadOffer,
        SessionGone,
        MediaUnavailable,
        ShuttingDown,
        Other,
    ]);
    (code, any::<String>()).prop_map(|(code, message)| Error { code, message })
}

fn session() -> impl Strategy<Value = SessionId> {
    any::<u64>().prop_map(SessionId)
}

fn resume_key() -> impl Strategy<Value = ResumeKey> {
    any::<[u8; 16]>().prop_map(ResumeKey::from_bytes)
}

fn key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(|seed| SecretKey::from_bytes(&seed).public())
}

fn nonce() -> impl Strategy<Value = Nonce> {
    any::<[u8; 16]>().prop_map(Nonce::from_bytes)
}

fn signature() -> impl Strategy<Value = Signature> {
    any::<(u8, u8)>()
        .prop_map(|(seed, text)| SecretKey::from_bytes(&[seed; 32]).sign(&text.to_string()))
}

fn proof() -> impl Strategy<Value = Option<Proof>> {
    prop::option::of((key(), signature()).prop_map(|(key, signature)| Proof { key, signature }))
}

fn pass() -> impl Strategy<Value = Option<Pass>> {
    let pass = (nonce(), any::<Option<String>>(), prop::option::of(signature()));
    prop::option::of(pass.prop_map(|(nonce, token, signature)| Pass { nonce, token, signature }))
}

fn time() -> impl Strategy<Value = Option<ServerTime>> {
    let time = (any::<u64>(), key(), signature());
    let time = time.prop_map(|(unix_ms, key, signature)| ServerTime { unix_ms, key, signature });
    prop::option::of(time)
}

fn from_camera() -> impl Strategy<Value = FromCamera> {
    let door = prop::sample::select(vec![Door::Open, Door::Token]);
    prop_oneof![
        (key(), nonce(), door, prop::collection::vec(key(), 0..3), signature()).prop_map(
            |(key, nonce, door, issuers, signature)| FromCamera::Prove {
                key,
                nonce,
                door,
                issuers,
                signature
            }
        ),
        (session(), any::<String>(), proof())
            .prop_map(|(session, sdp, proof)| FromCamera::Answer { session, sdp, proof }),
        (session(), candidate())
            .prop_map(|(session, candidate)| FromCamera::Candidate { session, candidate }),
        (session(), reason()).prop_map(|(session, reason)| FromCamera::Bye { session, reason }),
        session().prop_map(|session| FromCamera::Restart { session }),
        (prop::option::of(session()), error())
            .prop_map(|(session, error)| FromCamera::Error { session, error }),
    ]
}

fn to_camera() -> impl Strategy<Value = ToCamera> {
    let join = (
        (session(), transport(), any::<String>()),
        prop::option::of(resume_key()),
        pass(),
        ice_servers(),
    );
    prop_oneof![
        nonce().prop_map(|nonce| ToCamera::Challenge { nonce }),
        (room(), ice_servers(), time()).prop_map(|(room, ice_servers, time)| ToCamera::Hosting {
            room,
            ice_servers,
            time
        }),
        any::<u32>().prop_map(|within_ms| ToCamera::Move { within_ms }),
        join.prop_map(|((session, transport, offer), resume, pass, ice_servers)| ToCamera::Join {
            session,
            transport,
            offer,
            resume,
            pass,
            ice_servers
        }),
        (session(), candidate())
            .prop_map(|(session, candidate)| ToCamera::Candidate { session, candidate }),
        (session(), reason()).prop_map(|(session, reason)| ToCamera::Bye { session, reason }),
        (prop::option::of(session()), error())
            .prop_map(|(session, error)| ToCamera::Error { session, error }),
    ]
}

fn from_viewer() -> impl Strategy<Value = FromViewer> {
    prop_oneof![
        (transport(), any::<String>(), prop::option::of(resume_key()), pass()).prop_map(
            |(transport, offer, resume, pass)| FromViewer::Join { transport, offer, resume, pass }
        ),
        candidate().prop_map(|candidate| FromViewer::Candidate { candidate }),
        reason().prop_map(|reason| FromViewer::Bye { reason }),
    ]
}

fn to_viewer() -> impl Strategy<Value = ToViewer> {
    prop_oneof![
        (room(), any::<bool>(), ice_servers()).prop_map(|(room, online, ice_servers)| {
            ToViewer::Welcome { room, online, ice_servers }
        }),
        (any::<bool>(), ice_servers())
            .prop_map(|(online, ice_servers)| ToViewer::Camera { online, ice_servers }),
        (any::<String>(), proof()).prop_map(|(sdp, proof)| ToViewer::Answer { sdp, proof }),
        candidate().prop_map(|candidate| ToViewer::Candidate { candidate }),
        reason().prop_map(|reason| ToViewer::Bye { reason }),
        Just(ToViewer::Restart {}),
        error().prop_map(|error| ToViewer::Error { error }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        any::<u64>().prop_map(|id| Request::Time { id }),
        Just(Request::KeyFrame {}),
        Just(Request::Bye {}),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    // Times that a camera can have; JSON has no infinities.
    let ms = || 0.0..1e13f64;
    prop_oneof![
        resume_key().prop_map(|resume| Event::Session { resume }),
        (
            prop::sample::select(vec![Stream::Main, Stream::Sub]),
            any::<u32>(),
            any::<u32>(),
            any::<String>(),
            any::<Option<String>>()
        )
            .prop_map(|(stream, width, height, video_codec, audio_codec)| Event::Stream {
                stream,
                width,
                height,
                video_codec,
                audio_codec
            }),
        (any::<u64>(), ms()).prop_map(|(id, camera_ms)| Event::Time { id, camera_ms }),
        (ms(), ms()).prop_map(|(media, capture_ms)| Event::Clock { media, capture_ms }),
        (any::<bool>(), any::<String>())
            .prop_map(|(live, message)| Event::Source { live, message }),
        reason().prop_map(|reason| Event::Bye { reason }),
        error().prop_map(|error| Event::Error { error }),
    ]
}

proptest! {
    #[test]
    fn camera_messages_survive_the_round_trip(message in from_camera()) {
        prop_assert_eq!(decode::<FromCamera>(&encode(&message)), Ok(message));
    }

    #[test]
    fn messages_to_the_camera_survive_the_round_trip(message in to_camera()) {
        prop_assert_eq!(decode::<ToCamera>(&encode(&message)), Ok(message));
    }

    #[test]
    fn viewer_messages_survive_the_round_trip(message in from_viewer()) {
        prop_assert_eq!(decode::<FromViewer>(&encode(&message)), Ok(message));
    }

    #[test]
    fn messages_to_the_viewer_survive_the_round_trip(message in to_viewer()) {
        prop_assert_eq!(decode::<ToViewer>(&encode(&message)), Ok(message));
    }

    #[test]
    fn control_requests_survive_the_round_trip(message in request()) {
        prop_assert_eq!(decode::<Request>(&encode(&message)), Ok(message));
    }

    #[test]
    fn control_events_survive_the_round_trip(message in event()) {
        prop_assert_eq!(decode::<Event>(&encode(&message)), Ok(message));
    }

    #[test]
    fn any_text_is_a_message_or_an_error(text in any::<String>()) {
        let _ = decode::<FromViewer>(&text);
        let _ = decode::<FromCamera>(&text);
    }

    #[test]
    fn a_damaged_message_is_a_message_or_an_error(
        message in from_viewer(), at in any::<prop::sample::Index>(), with in any::<char>()
    ) {
        let mut text: Vec<char> = encode(&message).chars().collect();
        let at = at.index(text.len());
        text[at] = with;
        let _ = decode::<FromViewer>(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_text_is_a_room_or_an_error(text in any::<String>()) {
        if let Ok(room) = text.parse::<RoomId>() {
            prop_assert_eq!(room.as_str(), text);
        }
    }
}

#[test]
fn unknown_fields_are_tolerated() {
    let text = r#"{"type":"join","transport":"fmp4","offer":"v=0","colour":"blue"}"#;
    let transport = Transport::Fmp4;
    let expected = FromViewer::Join { transport, offer: "v=0".into(), resume: None, pass: None };
    assert_eq!(decode::<FromViewer>(text), Ok(expected));
}

#[test]
fn unknown_types_are_answered_with_what_is_known() {
    let error = decode::<FromViewer>(r#"{"type":"teleport"}"#).unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownType);
    assert!(error.message.contains("teleport") && error.message.contains("join"), "{error}");
}

#[test]
fn a_viewer_cannot_speak_as_a_camera() {
    let answer =
        encode(&FromCamera::Answer { session: SessionId(1), sdp: String::new(), proof: None });
    assert_eq!(decode::<FromViewer>(&answer).unwrap_err().code, ErrorCode::UnknownType);
}

#[test]
fn other_wrongs_are_bad_messages_that_say_what_is_wrong() {
    for (text, names) in [
        ("hello", "not JSON"),
        ("", "not JSON"),
        ("[]", "\"type\""),
        ("{}", "\"type\""),
        (r#"{"type":3}"#, "\"type\""),
        (r#"{"type":"join"}"#, "offer"),
        (r#"{"type":"join","offer":"v=0","transport":"carrier-pigeon"}"#, "carrier-pigeon"),
        (r#"{"type":"candidate","candidate":7}"#, "candidate"),
    ] {
        let error = decode::<FromViewer>(text).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadMessage, "{text}: {error}");
        assert!(error.message.contains(names), "{text}: {error}");
    }
}

#[test]
fn an_oversized_message_is_refused_before_it_is_parsed() {
    let text = format!(r#"{{"type":"join","offer":"{}"}}"#, "x".repeat(MAX_MESSAGE_SIZE));
    assert_eq!(decode::<FromViewer>(&text).unwrap_err().code, ErrorCode::TooLarge);
}

#[test]
fn a_newer_peers_codes_and_reasons_are_understood_as_other() {
    let error: ToViewer = decode(r#"{"type":"error","code":"solar-flare","message":"!"}"#).unwrap();
    assert!(matches!(error, ToViewer::Error { error } if error.code == ErrorCode::Other));
    let bye: ToViewer = decode(r#"{"type":"bye","reason":"bored"}"#).unwrap();
    assert_eq!(bye, ToViewer::Bye { reason: ByeReason::Other });
}

#[test]
fn a_credential_never_reaches_a_debug_log() {
    let server = IceServer { urls: vec![], username: None, credential: Some("hunter2".to_owned()) };
    assert!(!format!("{server:?}").contains("hunter2"));
}

#[test]
fn a_resume_key_is_checked_and_never_shown() {
    let key = ResumeKey::from_bytes([0xab; 16]);
    assert_eq!(key.as_str(), "ab".repeat(16));
    assert!(!format!("{key:?}").contains("ab"));
    for bad in ["", "abc", &"AB".repeat(16), &"ab".repeat(17), &"g0".repeat(16), &"é".repeat(16)] {
        let text = format!(r#"{{"type":"join","offer":"v=0","resume":"{bad}"}}"#);
        let error = decode::<FromViewer>(&text).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadMessage);
        assert!(error.message.contains("32 hexadecimal"), "{error}");
    }
}
