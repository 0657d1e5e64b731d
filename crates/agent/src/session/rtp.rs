//! The `rtp` transport: H.264 and Opus over SRTP.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use peercam_media::{AccessUnit, AudioPacket, Frame};
use rtc::{
    media_stream::MediaStreamTrack,
    rtcp::{
        sender_report::SenderReport,
        source_description::{
            SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
        },
    },
    rtp::{self, header::Header},
    rtp_transceiver::rtp_sender::{
        RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters,
        RtpCodecKind,
    },
};
use tokio::{sync::watch, time::Instant};
use tracing::debug;
use webrtc::{
    error::Result,
    media_stream::track_local::{TrackLocal, TrackLocalEvent, static_rtp::TrackLocalStaticRTP},
    peer_connection::PeerConnection,
};

use super::{
    congestion::Status,
    control::Clock,
    interceptors::Wire,
    offer::RtpOffer,
    peer::{h264, opus},
    source::{Decision, Source},
};
use crate::packetizer::Packetizer;

/// Time between two sender reports (RFC 3550 §6.4.1), and between two `clock` events.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two lines about the estimate in the log, at debug level.
const ESTIMATE_INTERVAL: Duration = Duration::from_secs(1);
/// What sound takes on the wire, in kbit/s: 64 of Opus, and headers.
const SOUND_KBPS: u32 = 90;
/// What a picture takes on the wire, of its own size: headers, and packets that are not full.
const HEADERS: f64 = 1.07;
/// One stream for both tracks, and one CNAME: the viewer plays them in step.
const STREAM_NAME: &str = "peercam";

/// Longest time that pictures may wait to leave, besides the time the last key frame takes. What
/// waits longer is dropped: a key frame brings the picture of now, the queue one of then.
const MAX_QUEUED: Duration = Duration::from_millis(250);
/// The same with that key frame, at most.
const MAX_QUEUED_KEY: Duration = Duration::from_millis(700);
/// While the group of pictures that a viewer begins with is on its way, it may take longer.
const BEGINNING: Duration = Duration::from_secs(2);
const MAX_QUEUED_BEGINNING: Duration = Duration::from_secs(1);
/// When the queue has come down to this, a key frame may go in.
const DRAINED: Duration = Duration::from_millis(80);

/// The tracks of one session.
pub(super) struct Sender {
    video: Track,
    audio: Option<Track>,
    wire: Arc<Wire>,
    gate: Gate,
}

/// One RTP stream.
struct Track {
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    payload_type: u8,
    clock_rate: u32,
    /// RTP timestamp of the media clock's zero: random (RFC 3550 §5.1).
    offset: u32,
    sequence_number: u16,
    packets: u32,
    octets: u32,
    reported: Option<Instant>,
}

impl Sender {
    /// Adds the tracks that `offer` asks for; before the offer is applied.
    pub async fn add_to(
        connection: &dyn PeerConnection,
        offer: &RtpOffer,
        wire: Arc<Wire>,
    ) -> Result<Self> {
        let codec = &offer.video.codec;
        let retransmission = offer.video.retransmission.is_some();
        let video =
            Track::new(RtpCodecKind::Video, h264(codec), codec.payload_type, retransmission);
        connection.add_track(video.track.clone() as Arc<dyn TrackLocal>).await?;
        let mut audio = None;
        if let Some(codec) = &offer.audio {
            let track = Track::new(RtpCodecKind::Audio, opus(codec), codec.payload_type, false);
            connection.add_track(track.track.clone() as Arc<dyn TrackLocal>).await?;
            audio = Some(track);
        }
        Ok(Self { video, audio, wire, gate: Gate::default() })
    }

    /// Sends until the camera stops or the connection is closed; nothing while there is no `path`,
    /// and after that from a key frame on. Reports to `clock` when frames were captured, and to
    /// the viewer's seat what his path carries; passes his wish for a key frame on.
    pub async fn run(
        mut self,
        mut source: Source<Frame>,
        packetizer: Arc<Packetizer>,
        clock: watch::Sender<Option<Clock>>,
        path: watch::Receiver<bool>,
    ) -> Result<()> {
        let feedback = self.video.track.clone();
        let mut estimate = self.wire.status();
        let mut said = Instant::now();
        loop {
            tokio::select! {
                Ok(()) = estimate.changed() => {
                    let status = *estimate.borrow_and_update();
                    let Some(status) = status else { continue };
                    source.seat().report(self.picture_kbps(&status), status.open);
                    if said.elapsed() >= ESTIMATE_INTERVAL {
                        said = Instant::now();
                        debug!("{status}");
                    }
                }
                frame = source.recv() => match frame {
                    Some(_) if !*path.borrow() => self.gate.shut = true,
                    Some(Frame::Video(unit)) => {
                        if self.admits(&unit, &source) {
                            self.send_video(&unit, &packetizer, &clock).await?;
                        }
                    }
                    Some(Frame::Audio(packet)) => self.send_audio(&packet).await?,
                    None => return Ok(()),
                },
                event = feedback.poll() => match event {
                    // Only key-frame requests come this far, see `interceptors`.
                    Some(TrackLocalEvent::OnRtcpPacket(_)) => source.request_key_frame(),
                    Some(_) => {}
                    None => return Ok(()),
                },
            }
        }
    }

    /// Bit rate of the picture that fits, in kbit/s.
    fn picture_kbps(&self, status: &Status) -> u32 {
        let sound = if self.audio.is_some() { SOUND_KBPS } else { 0 };
        let picture = status.media_kbps.saturating_sub(sound);
        (f64::from(picture) / HEADERS) as u32
    }

    /// Whether a picture goes out, or is dropped because too much waits already.
    fn admits(&mut self, unit: &AccessUnit, source: &Source<Frame>) -> bool {
        let key = unit.key.then(|| self.wire.duration(unit.data.len()));
        source.obey(self.gate.decide(std::time::Instant::now(), key, self.wire.queued()))
    }

    async fn send_video(
        &mut self,
        unit: &Arc<AccessUnit>,
        packetizer: &Packetizer,
        clock: &watch::Sender<Option<Clock>>,
    ) -> Result<()> {
        let payloads = packetizer.payloads(unit);
        let timestamp = self.video.timestamp(unit.pts);
        for (index, payload) in payloads.iter().enumerate() {
            let last = index + 1 == payloads.len();
            self.video.send(payload.clone(), timestamp, last).await?;
        }
        if self.video.report(timestamp, unit.captured).await? {
            let clock_now = Clock { media: timestamp.into(), captured: unit.captured };
            clock.send_replace(Some(clock_now));
        }
        Ok(())
    }

    async fn send_audio(&mut self, packet: &AudioPacket) -> Result<()> {
        let Some(audio) = &mut self.audio else { return Ok(()) };
        let timestamp = audio.timestamp(packet.pts);
        // The marker begins a talk spurt (RFC 7587 §4.1); ours never pauses.
        audio.send(packet.data.clone(), timestamp, false).await?;
        audio.report(timestamp, packet.captured).await?;
        Ok(())
    }
}

/// Decides which pictures go out: none that would wait too long, and none that refers to one
/// that was dropped.
#[derive(Debug, Default)]
struct Gate {
    begun: Option<std::time::Instant>,
    /// Pictures were dropped: the next to go out is a key frame.
    shut: bool,
    /// How long the last key frame takes to leave.
    key: Duration,
}

impl Gate {
    /// About a picture while `queued` waits; `key`: it is a key frame and takes so long to leave.
    fn decide(
        &mut self,
        now: std::time::Instant,
        key: Option<Duration>,
        queued: Duration,
    ) -> Decision {
        let begun = *self.begun.get_or_insert(now);
        let limit = match now.saturating_duration_since(begun) < BEGINNING {
            true => MAX_QUEUED_BEGINNING,
            false => (MAX_QUEUED + self.key).min(MAX_QUEUED_KEY),
        };
        let drained = queued <= DRAINED;
        match key {
            Some(duration) if drained || (!self.shut && queued <= limit) => {
                if self.shut {
                    debug!("rtp: goes on with a key frame");
                }
                self.shut = false;
                self.key = duration;
                Decision::Send
            }
            None if !self.shut && queued <= limit => Decision::Send,
            _ => {
                if !self.shut {
                    debug!("rtp: {} ms wait, dropping to a key frame", queued.as_millis());
                }
                self.shut = true;
                if drained { Decision::DropAndAsk } else { Decision::Drop }
            }
        }
    }
}

impl Track {
    fn new(kind: RtpCodecKind, codec: RTCRtpCodec, payload_type: u8, retransmission: bool) -> Self {
        let ssrc = random();
        let clock_rate = codec.clock_rate;
        let coding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                rtx: retransmission.then(|| RTCRtpRtxParameters { ssrc: random() }),
                ..Default::default()
            },
            codec,
            ..Default::default()
        };
        let name = format!("{STREAM_NAME}-{kind}");
        let track =
            MediaStreamTrack::new(STREAM_NAME.to_owned(), name.clone(), name, kind, vec![coding]);
        Self {
            track: Arc::new(TrackLocalStaticRTP::new(track)),
            ssrc,
            payload_type,
            clock_rate,
            offset: random(),
            sequence_number: random() as u16,
            packets: 0,
            octets: 0,
            reported: None,
        }
    }

    /// The RTP timestamp of a moment on the media clock; wraps.
    fn timestamp(&self, pts: Duration) -> u32 {
        let ticks = pts.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000;
        self.offset.wrapping_add(ticks as u32)
    }

    async fn send(&mut self, payload: Bytes, timestamp: u32, marker: bool) -> Result<()> {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        let header = Header {
            version: 2,
            marker,
            payload_type: self.payload_type,
            sequence_number: self.sequence_number,
            timestamp,
            ssrc: self.ssrc,
            ..Default::default()
        };
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.track.write_rtp(rtp::Packet { header, payload }).await
    }

    /// Sends a sender report where it is time for one: the first right behind the first frame, so
    /// that picture and sound are in step from the start. Built on the time of capture and not of
    /// sending: the viewer then makes up for encoders that take different times.
    async fn report(&mut self, timestamp: u32, captured: SystemTime) -> Result<bool> {
        if self.reported.is_some_and(|reported| reported.elapsed() < REPORT_INTERVAL) {
            return Ok(false);
        }
        self.reported = Some(Instant::now());
        let report = SenderReport {
            ssrc: self.ssrc,
            ntp_time: ntp(captured),
            rtp_time: timestamp,
            packet_count: self.packets,
            octet_count: self.octets,
            ..Default::default()
        };
        let name = SourceDescription {
            chunks: vec![SourceDescriptionChunk {
                source: self.ssrc,
                items: vec![SourceDescriptionItem {
                    sdes_type: SdesType::SdesCname,
                    text: Bytes::from_static(STREAM_NAME.as_bytes()),
                }],
            }],
        };
        self.track.write_rtcp(vec![Box::new(report), Box::new(name)]).await?;
        Ok(true)
    }
}

/// A moment as an NTP timestamp (RFC 5905 §6): seconds since 1900 and 2⁻³² s.
fn ntp(time: SystemTime) -> u64 {
    const UNIX_EPOCH_IN_NTP: u64 = 2_208_988_800;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().wrapping_add(UNIX_EPOCH_IN_NTP);
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (seconds << 32) | fraction
}

/// For numbers that must be unlikely to collide, not secret.
fn random() -> u32 {
    // Without random numbers the system is beyond help, and DTLS refuses long before.
    getrandom::u32().unwrap_or(0x7065_6572)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_would_wait_too_long_is_dropped_up_to_a_key_frame_that_has_room() {
        let start = std::time::Instant::now();
        let mut gate = Gate::default();
        assert_eq!(gate.decide(start, Some(100 * MS), Duration::ZERO), Decision::Send);
        assert_eq!(gate.decide(start, None, 800 * MS), Decision::Send, "at the beginning");
        let later = start + BEGINNING;
        assert_eq!(gate.decide(later, None, 350 * MS), Decision::Send, "with the key frame's time");
        assert_eq!(gate.decide(later, None, 351 * MS), Decision::Drop);
        assert_eq!(
            gate.decide(later, None, 200 * MS),
            Decision::Drop,
            "refers to what was dropped"
        );
        assert_eq!(gate.decide(later, Some(MS), 200 * MS), Decision::Drop, "no room yet");
        assert_eq!(gate.decide(later, None, 80 * MS), Decision::DropAndAsk);
        assert_eq!(gate.decide(later, Some(500 * MS), 80 * MS), Decision::Send);
        assert_eq!(gate.decide(later, None, 600 * MS), Decision::Send);
        assert_eq!(gate.decide(later, None, 701 * MS), Decision::Drop, "however large it was");
    }

    #[test]
    fn ntp_time_counts_from_1900() {
        assert_eq!(ntp(UNIX_EPOCH), 2_208_988_800 << 32);
        assert_eq!(ntp(UNIX_EPOCH + Duration::from_millis(500)) & 0xffff_ffff, 1 << 31);
    }
}
