//! Closest to the wire: numbers, paces and repeats packets, and hears of their arrival.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use rtc::{
    interceptor::{AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket},
    rtcp::{
        self,
        payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate,
        receiver_report::ReceiverReport,
        transport_feedbacks::{
            transport_layer_cc::TransportLayerCc, transport_layer_nack::TransportLayerNack,
        },
    },
    rtp,
    sansio::Protocol,
    shared::{TransportContext, error::Error, marshal::MarshalSize},
};

use super::{
    Wire,
    repair::{Form, Repair},
};
use crate::session::{
    congestion::{Controller, Pacer, Picture, Report},
    peer::{PLAYOUT_DELAY_URI, TRANSPORT_CC},
};

/// Packets of pictures that wait to leave. The media sender stops long before, by time; this is
/// only the bound.
const MAX_QUEUED: usize = 4096;
/// Repairs that wait to leave.
const MAX_REPAIRS: usize = 256;

/// Between what the viewer may hold pictures back to play them evenly, in tens of milliseconds,
/// 12 bits each: 10 to 200 ms. Less would not cover a lost packet; and a viewer left to himself holds
/// them back for as long as the worst key frame took, long after it came. (Not from 0: that means
/// to show everything at once.)
const PLAYOUT_DELAY: [u8; 3] = [0, 0x10, 20];

/// See the module.
pub(super) struct Outbound {
    wire: Arc<Wire>,
    /// From the first packet on.
    control: Option<(Controller, Pacer)>,
    streams: Vec<Stream>,
    /// With the sequence number of what each repeats.
    repairs: VecDeque<(rtp::Packet, u16)>,
    pictures: VecDeque<rtp::Packet>,
    /// Bytes in both.
    waiting: usize,
    /// Where the viewer's reports come from.
    viewer: Option<SocketAddr>,
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

/// A stream of ours.
struct Stream {
    ssrc: u32,
    /// Sound is never held back.
    sound: bool,
    /// Id of the header extension that carries the transport-wide number, where the viewer reports
    /// on it.
    extension: Option<u8>,
    /// Id of the header extension that says how long the viewer may hold a picture back.
    playout_delay: Option<u8>,
    /// The next packet begins a picture.
    begins: bool,
    repair: Option<Repair>,
    repair_ssrc: Option<u32>,
}

impl Outbound {
    pub fn new(wire: Arc<Wire>) -> Self {
        Self {
            wire,
            control: None,
            streams: Vec::new(),
            repairs: VecDeque::new(),
            pictures: VecDeque::new(),
            waiting: 0,
            viewer: None,
            read: VecDeque::new(),
            write: VecDeque::new(),
        }
    }

    fn control(&mut self, now: Instant) -> &mut (Controller, Pacer) {
        let limits = self.wire.limits;
        self.control.get_or_insert_with(|| {
            let controller = Controller::new(now, limits);
            let pacer = Pacer::new(now, controller.pace(now));
            (controller, pacer)
        })
    }

    /// Lets out what may leave.
    fn release(&mut self, now: Instant) {
        let (controller, pacer) = self.control(now);
        let pace = controller.pace(now);
        pacer.set_rate(now, pace);
        while self.waiting > 0 {
            let (_, pacer) = self.control(now);
            if !pacer.ready(now) {
                break;
            }
            // Repairs first: what is behind them can't be shown without.
            let (packet, repeats) = match self.repairs.pop_front() {
                Some((packet, number)) => (packet, Some(number)),
                None => match self.pictures.pop_front() {
                    Some(packet) => (packet, None),
                    None => break,
                },
            };
            self.waiting = self.waiting.saturating_sub(size(&packet));
            self.send(now, packet, repeats);
        }
        if let Some((controller, pacer)) = &self.control {
            // What stands in the network's queue is ahead of all that waits here.
            let queued = pacer.duration(self.waiting) + controller.status(now).queue;
            self.wire.set_queue(queued, pace);
        }
    }

    /// Sends a packet now; `repeats`: the sequence number of the one that it repeats.
    fn send(&mut self, now: Instant, mut packet: rtp::Packet, repeats: Option<u16>) {
        let repair = repeats.is_some();
        let bytes = size(&packet);
        let ssrc = packet.header.ssrc;
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.ssrc == ssrc || stream.repair_ssrc == Some(ssrc));
        let mut extension = None;
        let mut picture = None;
        if let Some(stream) = stream {
            if !stream.sound {
                picture = repeats.or(Some(packet.header.sequence_number));
            }
            extension = stream.extension;
            if let (Some(kept), false) = (&mut stream.repair, repair) {
                kept.keep(now, &packet);
            }
            if !repair && let Some(id) = stream.playout_delay {
                if stream.begins {
                    extend(&mut packet, id, &PLAYOUT_DELAY);
                }
                stream.begins = packet.header.marker;
            }
        }
        let (controller, pacer) = self.control(now);
        pacer.left(now, bytes);
        if let Some(id) = extension {
            let number = controller.sent(now, bytes, picture, repair);
            extend(&mut packet, id, &number.to_be_bytes());
        }
        self.write.push_back(TaggedPacket {
            now,
            transport: TransportContext::default(),
            message: AttributedPacket::new(Packet::Rtp(packet)),
        });
    }

    fn enqueue(&mut self, packet: rtp::Packet) {
        if self.pictures.len() < MAX_QUEUED {
            self.waiting += size(&packet);
            self.pictures.push_back(packet);
        }
    }

    fn hear(&mut self, now: Instant, report: &dyn rtcp::Packet) {
        let report = report.as_any();
        if let Some(feedback) = report.downcast_ref::<TransportLayerCc>() {
            // Not only what the viewer asks for is repeated: his request can be lost, and so can a
            // repeated packet, which he waits a round trip for before he asks again.
            match self.control(now).0.feedback(now, feedback) {
                Some(news) => {
                    let pictures = |stream: &Stream| !stream.sound;
                    let repair = self.streams.iter_mut().find(|stream| pictures(stream));
                    if let Some(repair) = repair.and_then(|stream| stream.repair.as_mut()) {
                        for (number, _) in news.iter().filter(|(_, what)| *what == Picture::Arrived)
                        {
                            repair.arrived(*number);
                        }
                    }
                    let lost = news.into_iter().filter(|(_, what)| *what == Picture::Lost);
                    self.repeat(now, pictures, lost.map(|(number, _)| number));
                }
                None => tracing::debug!("feedback that makes no sense"),
            }
        } else if let Some(nack) = report.downcast_ref::<TransportLayerNack>() {
            let of = |stream: &Stream| stream.ssrc == nack.media_ssrc;
            let wanted = nack.nacks.iter().flat_map(|pair| {
                let bits = (0..16).filter(|bit| pair.lost_packets & (1 << bit) != 0);
                let following = bits.map(|bit| pair.packet_id.wrapping_add(bit + 1));
                std::iter::once(pair.packet_id).chain(following)
            });
            self.repeat(now, of, wanted);
            return;
        } else if let Some(report) = report.downcast_ref::<ReceiverReport>() {
            let streams = &self.streams;
            let lost = report
                .reports
                .iter()
                .filter(|report| {
                    streams.iter().any(|stream| stream.ssrc == report.ssrc && !stream.sound)
                })
                .map(|report| f64::from(report.fraction_lost) / 256.0)
                .next();
            let Some(lost) = lost else { return };
            self.control(now).0.report(now, Report::Lost(lost));
        } else if let Some(estimate) = report.downcast_ref::<ReceiverEstimatedMaximumBitrate>() {
            let rate = f64::from(estimate.bitrate);
            self.control(now).0.report(now, Report::Estimate(rate));
        } else {
            return;
        }
        let status = self.control(now).0.status(now);
        self.wire.set_status(status);
    }

    /// Repeats what is `wanted` of a stream, as far as that may be.
    fn repeat(
        &mut self,
        now: Instant,
        of: impl Fn(&Stream) -> bool,
        wanted: impl Iterator<Item = u16>,
    ) {
        let (controller, _) = self.control(now);
        let (rtt, rate) = (controller.rtt(), controller.target());
        let stream = self.streams.iter_mut().find(|stream| of(stream));
        let Some(repair) = stream.and_then(|stream| stream.repair.as_mut()) else { return };
        for number in wanted {
            if self.repairs.len() >= MAX_REPAIRS {
                return;
            }
            if let Some(packet) = repair.repeat(now, number, rtt, rate) {
                self.waiting += size(&packet);
                self.repairs.push_back((packet, number));
            }
        }
    }
}

fn extend(packet: &mut rtp::Packet, id: u8, value: &[u8]) {
    if let Err(error) = packet.header.set_extension(id, Bytes::copy_from_slice(value)) {
        tracing::debug!("a packet without header extension {id}: {error}");
    }
}

fn size(packet: &rtp::Packet) -> usize {
    packet.header.marshal_size() + packet.payload.len()
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Outbound {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(reports) = &packet.message.packet {
            let now = packet.now;
            let from = packet.transport.peer_addr;
            if self.viewer.replace(from).is_some_and(|before| before != from) {
                self.control(now).0.path_changed(now);
            }
            for report in reports {
                self.hear(now, report.as_ref());
            }
            self.release(now);
        }
        self.read.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        let now = packet.now;
        let packet = match packet.message.packet {
            Packet::Rtp(packet) => packet,
            _ => {
                self.write.push_back(packet);
                return Ok(());
            }
        };
        let ssrc = packet.header.ssrc;
        if self.streams.iter().any(|stream| stream.ssrc == ssrc && stream.sound) {
            self.send(now, packet, None);
        } else {
            self.enqueue(packet);
        }
        self.release(now);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.waiting > 0 {
            self.release(now);
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        let (_, pacer) = self.control.as_ref()?;
        (self.waiting > 0).then(|| pacer.next())
    }
}

impl Interceptor for Outbound {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        let extension = |uri| {
            info.rtp_header_extensions
                .iter()
                .find(|extension| extension.uri == uri)
                // Others need the longer form (RFC 8285 §4.3), which nobody uses for these.
                .and_then(|extension| u8::try_from(extension.id).ok().filter(|id| *id <= 14))
        };
        let nack = info
            .rtcp_feedback
            .iter()
            .any(|feedback| feedback.typ == "nack" && feedback.parameter.is_empty());
        let form = match (info.ssrc_rtx, info.payload_type_rtx) {
            (Some(ssrc), Some(payload_type)) => Form::Rtx { ssrc, payload_type },
            _ => Form::Same { ssrc: info.ssrc },
        };
        self.unbind_local_stream(info);
        self.streams.push(Stream {
            ssrc: info.ssrc,
            sound: info.mime_type.starts_with("audio/"),
            extension: extension(TRANSPORT_CC),
            playout_delay: extension(PLAYOUT_DELAY_URI),
            begins: true,
            repair: nack.then(|| Repair::new(form)),
            repair_ssrc: info.ssrc_rtx,
        });
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.streams.retain(|stream| stream.ssrc != info.ssrc);
    }

    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
