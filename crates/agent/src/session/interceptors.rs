//! What stands between a session's RTP and the wire.
//!
//! On purpose only two: retransmission of lost packets, and a door for key-frame requests.
//! Sender reports are made where the capture times are known (see [`super::rtp`]), and the
//! library's congestion control is left out: over a narrow link it makes things worse.

use std::{collections::VecDeque, time::Instant};

use rtc::{
    interceptor::{
        Attribute, Interceptor, NackResponderBuilder, Packet, Registry, Slot, StreamInfo,
        TaggedPacket,
    },
    rtcp::payload_feedbacks::{
        full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication,
    },
    sansio::Protocol,
    shared::error::Error,
};

/// Packets kept for retransmission, for each stream: a second at 2 Mbit/s. What is older would
/// come too late to be shown, and in an overload only feeds it.
const RETRANSMISSION_BUFFER: u16 = 256;

/// The chain for one session.
pub(super) fn registry() -> Registry {
    let retransmit = NackResponderBuilder::new().with_size(RETRANSMISSION_BUFFER).build();
    Registry::new()
        .with(Slot::NackResponder, retransmit)
        // Closest to the application: everything else has seen the packet by then.
        .with(Slot::from(14_000), KeyFrameRequests::default())
}

/// Hands PLI and FIR (RFC 4585 §6.3.1, RFC 5104 §4.3.1) to the application; everything else of
/// the viewer's RTCP has done its work before.
#[derive(Default)]
struct KeyFrameRequests {
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

fn asks_for_key_frame(packet: &dyn rtc::rtcp::Packet) -> bool {
    let packet = packet.as_any();
    packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>()
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyFrameRequests {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(reports) = &mut packet.message.packet {
            reports.retain(|report| asks_for_key_frame(report.as_ref()));
            if reports.is_empty() {
                return Ok(());
            }
            packet.message.add(Attribute::DeliverToApplication);
        }
        self.read.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.write.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }
}

impl Interceptor for KeyFrameRequests {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
