//! What a viewer's offer (SDP, RFC 8866) has for us: codecs, and the data channels' transport.

use std::io::Cursor;

use peercam_protocol::signalling::{Error, ErrorCode, Transport};
use rtc::sdp::{MediaDescription, SessionDescription};

use super::peer::TRANSPORT_CC;

/// A checked offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// As it came.
    pub sdp: String,
    /// For the `rtp` transport.
    pub rtp: Option<RtpOffer>,
    /// Whether the viewer opens data channels. Standard players of `rtp` don't: they get picture
    /// and sound, and nothing is told them on a `control` channel.
    pub data_channels: bool,
}

/// The codecs of an offer for `rtp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RtpOffer {
    pub video: VideoCodec,
    /// None where the viewer wants no sound.
    pub audio: Option<Codec>,
}

/// H.264 as the viewer numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VideoCodec {
    pub codec: Codec,
    /// Payload type of its retransmissions (RFC 4588).
    pub retransmission: Option<u8>,
}

/// A codec as the viewer numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Codec {
    pub payload_type: u8,
    /// Format parameters (`a=fmtp`), repeated unchanged in the answer.
    pub parameters: String,
    /// How the viewer says what his path carries.
    pub rate_feedback: Option<RateFeedback>,
}

/// Ways in which a viewer says what his path carries. The better one is taken; one who has neither
/// still reports how much he lost (RFC 3550 §6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RateFeedback {
    /// When each packet arrived (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportWide,
    /// His own estimate (draft-alvestrand-rmcat-remb-03).
    Estimate,
}

impl Offer {
    /// Reads an offer for `transport`.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::BadOffer`], with what is missing.
    pub fn parse(sdp: String, transport: Transport) -> Result<Self, Error> {
        let refuse = |message: String| Error::new(ErrorCode::BadOffer, message);
        let description = SessionDescription::unmarshal(&mut Cursor::new(sdp.as_bytes()))
            .map_err(|error| refuse(format!("the offer is no SDP: {error}")))?;
        let media = &description.media_descriptions;
        let data_channels = media.iter().any(carries_data_channels);
        if !data_channels && transport == Transport::Fmp4 {
            return Err(refuse(
                "the offer has no application section: create the data channel \"control\" first"
                    .to_owned(),
            ));
        }
        let rtp = match transport {
            Transport::Fmp4 => None,
            Transport::Rtp => Some(RtpOffer {
                video: find_video(media).map_err(|problem| refuse(problem.to_owned()))?,
                audio: find_audio(media),
            }),
        };
        Ok(Self { sdp, rtp, data_channels })
    }
}

fn carries_data_channels(media: &MediaDescription) -> bool {
    media.media_name.media == "application"
        && media.media_name.port.value != 0
        && media.media_name.formats.iter().any(|format| format == "webrtc-datachannel")
}

/// The sections of one kind that the viewer wants to receive.
fn wanted<'a>(
    media: &'a [MediaDescription],
    kind: &'a str,
) -> impl Iterator<Item = &'a MediaDescription> {
    media.iter().filter(move |media| {
        media.media_name.media == kind
            && media.media_name.port.value != 0
            && !media.has_attribute("inactive")
            && !media.has_attribute("sendonly")
    })
}

fn find_video(media: &[MediaDescription]) -> Result<VideoCodec, &'static str> {
    let section = wanted(media, "video").next().ok_or(
        "the offer has no video section to receive on: add a recvonly video transceiver, or join \
         with the transport \"fmp4\"",
    )?;
    let codecs = codecs(section);
    let codec = codecs
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("H264/90000"))
        .filter_map(|(_, codec)| Some((profile_rank(&codec.parameters)?, codec)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, codec)| codec.clone())
        .ok_or(
            "the offer has no H.264 with packetization-mode=1 in baseline or main profile: use a \
             browser that decodes it, or join with the transport \"fmp4\"",
        )?;
    let retransmission = codecs
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("rtx/90000"))
        .find(|(_, rtx)| {
            let associated = parameter(&rtx.parameters, "apt").and_then(|apt| apt.parse().ok());
            associated == Some(codec.payload_type)
        })
        .map(|(_, rtx)| rtx.payload_type);
    Ok(VideoCodec { codec, retransmission })
}

fn find_audio(media: &[MediaDescription]) -> Option<Codec> {
    let (_, codec) = codecs(wanted(media, "audio").next()?)
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("opus/48000/2"))?;
    Some(codec)
}

/// Every codec of a section with its name (`H264/90000`), in the viewer's order.
fn codecs(media: &MediaDescription) -> Vec<(String, Codec)> {
    media
        .media_name
        .formats
        .iter()
        .filter_map(|format| {
            let payload_type = format.parse().ok().filter(|number| *number < 128)?;
            let name = attribute_of(media, "rtpmap", format)?.to_owned();
            let parameters = attribute_of(media, "fmtp", format).unwrap_or_default().to_owned();
            let rate_feedback = rate_feedback(media, format);
            Some((name, Codec { payload_type, parameters, rate_feedback }))
        })
        .collect()
}

/// Transport-wide feedback needs the header extension that it is about.
fn rate_feedback(media: &MediaDescription, format: &str) -> Option<RateFeedback> {
    let offers = |kind: &str| {
        [format, "*"]
            .iter()
            .any(|format| attributes_of(media, "rtcp-fb", format).any(|feedback| feedback == kind))
    };
    let numbered = media
        .attributes
        .iter()
        .filter(|attribute| attribute.key == "extmap")
        .filter_map(|attribute| attribute.value.as_deref()?.split_whitespace().nth(1))
        .any(|uri| uri == TRANSPORT_CC);
    if numbered && offers("transport-cc") {
        Some(RateFeedback::TransportWide)
    } else {
        offers("goog-remb").then_some(RateFeedback::Estimate)
    }
}

/// The value of `a=<key>:<format> <value>`.
fn attribute_of<'a>(media: &'a MediaDescription, key: &str, format: &str) -> Option<&'a str> {
    attributes_of(media, key, format).next()
}

/// The same, where there are several.
fn attributes_of<'a>(
    media: &'a MediaDescription,
    key: &str,
    format: &str,
) -> impl Iterator<Item = &'a str> {
    media
        .attributes
        .iter()
        .filter(move |attribute| attribute.key == key)
        .filter_map(|attribute| attribute.value.as_deref()?.split_once(' '))
        .filter(move |(number, _)| *number == format)
        .map(|(_, value)| value.trim())
}

/// One of `a=fmtp`'s `name=value` pairs.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// How well a profile suits (RFC 6184 §8.1), 0 best; none for what we don't send. The camera
/// encodes constrained baseline or main; every decoder of main decodes both.
fn profile_rank(parameters: &str) -> Option<u8> {
    if parameter(parameters, "packetization-mode") != Some("1") {
        return None;
    }
    // The default, where none is named, is baseline.
    let profile =
        parameter(parameters, "profile-level-id").unwrap_or("42000a").to_ascii_lowercase();
    match profile.as_bytes() {
        [b'4', b'2', b'e', ..] | [b'4', b'2', b'c', ..] => Some(0),
        [b'4', b'2', ..] => Some(1),
        [b'4', b'd', ..] => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROMIUM: &str = include_str!("offer_chromium.sdp");

    fn parse(sdp: &str, transport: Transport) -> Result<Offer, Error> {
        Offer::parse(sdp.replace('\n', "\r\n"), transport)
    }

    fn refusal(sdp: &str, transport: Transport) -> String {
        let error = parse(sdp, transport).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadOffer);
        error.message
    }

    fn without(sdp: &str, unwanted: &str) -> String {
        sdp.lines().filter(|line| !line.contains(unwanted)).fold(String::new(), |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        })
    }

    #[test]
    fn chromium_is_offered_what_it_numbers() {
        let rtp = parse(CHROMIUM, Transport::Rtp).unwrap().rtp.unwrap();
        assert_eq!(rtp.video.codec.payload_type, 108);
        assert!(rtp.video.codec.parameters.contains("profile-level-id=42e01f"));
        assert_eq!(rtp.video.retransmission, Some(109));
        assert_eq!(rtp.audio.unwrap().payload_type, 111);
    }

    #[test]
    fn the_best_way_to_hear_of_the_path_is_taken() {
        let feedback = |sdp: &str| {
            let rtp = parse(sdp, Transport::Rtp).unwrap().rtp.unwrap();
            (rtp.video.codec.rate_feedback, rtp.audio.unwrap().rate_feedback)
        };
        let transport_wide = Some(RateFeedback::TransportWide);
        assert_eq!(feedback(CHROMIUM), (transport_wide, transport_wide));
        let estimate = Some(RateFeedback::Estimate);
        assert_eq!(feedback(&without(CHROMIUM, "transport-wide-cc")), (estimate, None));
        assert_eq!(feedback(&without(CHROMIUM, "transport-cc")), (estimate, None));
        let neither = without(&without(CHROMIUM, "transport-cc"), "goog-remb");
        assert_eq!(feedback(&neither), (None, None));
    }

    #[test]
    fn without_constrained_baseline_plain_baseline_then_main_is_taken() {
        let sdp = without(CHROMIUM, "42e01f");
        let rtp = parse(&sdp, Transport::Rtp).unwrap().rtp.unwrap();
        assert!(rtp.video.codec.parameters.contains("42001f"));
        let rtp = parse(&without(&sdp, "42001f"), Transport::Rtp).unwrap().rtp.unwrap();
        assert!(rtp.video.codec.parameters.contains("4d001f"));
    }

    #[test]
    fn a_viewer_may_want_no_sound() {
        let sdp = CHROMIUM.replacen("a=recvonly", "a=inactive", 2).replacen(
            "a=inactive",
            "a=recvonly",
            1,
        );
        assert!(parse(&sdp, Transport::Rtp).unwrap().rtp.unwrap().audio.is_none());
    }

    #[test]
    fn a_standard_player_has_no_data_channel() {
        let no_data = CHROMIUM.replace("m=application 9", "m=application 0");
        let (none, data) = no_data.split_once("m=application").unwrap();
        assert!(data.contains("sctp-port"));
        for sdp in [&no_data, none] {
            let offer = parse(sdp, Transport::Rtp).unwrap();
            assert!(!offer.data_channels && offer.rtp.is_some());
        }
        assert!(parse(CHROMIUM, Transport::Rtp).unwrap().data_channels);
    }

    #[test]
    fn refusals_say_what_is_missing() {
        assert!(refusal("not SDP", Transport::Rtp).contains("no SDP"));
        assert!(refusal("", Transport::Fmp4).contains("no SDP"));
        assert!(refusal(&without(CHROMIUM, "H264"), Transport::Rtp).contains("no H.264"));
        let mode_0 = CHROMIUM.replace("packetization-mode=1", "packetization-mode=0");
        assert!(refusal(&mode_0, Transport::Rtp).contains("packetization-mode=1"));
        let no_data = CHROMIUM.replace("m=application 9", "m=application 0");
        assert!(refusal(&no_data, Transport::Fmp4).contains("no application section"));
        let no_video = CHROMIUM.replace("m=video 9", "m=video 0");
        assert!(refusal(&no_video, Transport::Rtp).contains("no video section"));
        assert!(parse(&no_video, Transport::Fmp4).is_ok());
    }

    #[test]
    fn any_garbage_is_refused_and_nothing_panics() {
        // Cut, doubled and scrambled pieces of a real offer.
        for cut in 0..CHROMIUM.len() {
            let _ = parse(&CHROMIUM[..cut], Transport::Rtp);
            let _ = parse(&CHROMIUM[cut..], Transport::Rtp);
        }
        for (from, to) in [("109", "999"), ("a=", "b="), ("9", ""), ("=", ":"), ("apt=", "apt=x")] {
            let _ = parse(&CHROMIUM.replace(from, to), Transport::Rtp);
        }
    }
}
