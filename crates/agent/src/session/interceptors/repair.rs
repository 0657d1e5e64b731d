//! Packets that may be asked for again (RFC 4585 §6.2.1), and what is sent then (RFC 4588).
//!
//! What is lost is sent again only while it can still be shown, not twice within a round trip, and
//! all of it within a share of the rate: in an overload repeating everything is what turns a
//! narrow link into a dead one.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use rtc::rtp::{self, header::Header};

use super::super::congestion::Bucket;

/// What is older would come too late.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Packets kept: a second at 8 Mbit/s and 1160 bytes.
const CAPACITY: usize = 1024;
/// Part of the rate that repairs may take, saved up for half a second: a tenth of the packets lost
/// needs a little more than a tenth.
const SHARE: f64 = 0.3;
const SAVED: Duration = Duration::from_millis(500);
/// Shortest time between two copies of a packet, however short the round trip.
const MIN_INTERVAL: Duration = Duration::from_millis(15);

/// What of a packet is needed to send it again. The payload is shared with every other viewer.
#[derive(Debug)]
struct Kept {
    payload: Bytes,
    timestamp: u32,
    sequence_number: u16,
    marker: bool,
    payload_type: u8,
    sent: Instant,
    repeated: Option<Instant>,
    /// He has it, whatever he asks for.
    arrived: bool,
}

/// How a stream's packets are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As a stream of their own (RFC 4588 §4).
    Rtx { ssrc: u32, payload_type: u8 },
    /// As they were.
    Same { ssrc: u32 },
}

/// One stream's packets of the last second.
#[derive(Debug)]
pub(super) struct Repair {
    form: Form,
    /// For a stream of their own.
    sequence_number: u16,
    kept: VecDeque<Kept>,
    budget: Bucket,
}

impl Repair {
    pub fn new(form: Form) -> Self {
        let budget = Bucket::new(SAVED);
        Self { form, sequence_number: 0, kept: VecDeque::new(), budget }
    }

    /// A packet leaves, for the first time.
    pub fn keep(&mut self, now: Instant, packet: &rtp::Packet) {
        let Header { sequence_number, timestamp, marker, payload_type, .. } = packet.header;
        if self
            .kept
            .back()
            .is_some_and(|last| last.sequence_number.wrapping_add(1) != sequence_number)
        {
            // Found by their place: there must be no gap.
            self.kept.clear();
        }
        while self.kept.len() >= CAPACITY
            || self.kept.front().is_some_and(|kept| now.duration_since(kept.sent) > MAX_AGE)
        {
            self.kept.pop_front();
        }
        let payload = packet.payload.clone();
        let (sent, repeated) = (now, None);
        self.kept.push_back(Kept {
            payload,
            timestamp,
            sequence_number,
            marker,
            payload_type,
            sent,
            repeated,
            arrived: false,
        });
    }

    /// The viewer has a packet: it is not repeated any more.
    pub fn arrived(&mut self, sequence_number: u16) {
        let Some(first) = self.kept.front().map(|kept| kept.sequence_number) else { return };
        let index = usize::from(sequence_number.wrapping_sub(first));
        if let Some(kept) = self.kept.get_mut(index) {
            kept.arrived = true;
        }
    }

    /// The packet that was asked for, to be sent again: if it is kept, has not been repeated
    /// within `rtt`, and the share of `rate` (bit/s) allows it.
    pub fn repeat(
        &mut self,
        now: Instant,
        sequence_number: u16,
        rtt: Duration,
        rate: f64,
    ) -> Option<rtp::Packet> {
        let first = self.kept.front()?.sequence_number;
        let kept = self.kept.get_mut(usize::from(sequence_number.wrapping_sub(first)))?;
        // Somewhat less than a round trip: a viewer who asks again after one means it.
        let interval = (rtt * 3 / 4).max(MIN_INTERVAL);
        if kept.arrived
            || now.duration_since(kept.sent) > MAX_AGE
            || kept.repeated.is_some_and(|repeated| now.duration_since(repeated) < interval)
            || !self.budget.take(now, rate * SHARE, kept.payload.len() + 60)
        {
            return None;
        }
        kept.repeated = Some(now);
        let header = Header {
            version: 2,
            marker: kept.marker,
            timestamp: kept.timestamp,
            ..Default::default()
        };
        Some(match self.form {
            Form::Rtx { ssrc, payload_type } => {
                let sequence_number = self.sequence_number;
                self.sequence_number = sequence_number.wrapping_add(1);
                let mut payload = BytesMut::with_capacity(2 + kept.payload.len());
                payload.put_u16(kept.sequence_number);
                payload.put_slice(&kept.payload);
                let header = Header { ssrc, payload_type, sequence_number, ..header };
                rtp::Packet { header, payload: payload.freeze() }
            }
            Form::Same { ssrc } => {
                let payload_type = kept.payload_type;
                let header = Header { ssrc, payload_type, sequence_number, ..header };
                rtp::Packet { header, payload: kept.payload.clone() }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(60);
    const RATE: f64 = 2e6;

    fn packet(sequence_number: u16) -> rtp::Packet {
        let header = Header { version: 2, sequence_number, ssrc: 1, ..Default::default() };
        rtp::Packet { header, payload: Bytes::from(vec![7; 1_000]) }
    }

    fn repair(start: Instant) -> Repair {
        let mut repair = Repair::new(Form::Rtx { ssrc: 2, payload_type: 99 });
        for number in 0..100_u16 {
            repair.keep(start, &packet(65_500_u16.wrapping_add(number)));
        }
        repair
    }

    #[test]
    fn a_lost_packet_comes_again_in_a_stream_of_its_own() {
        let start = Instant::now();
        let mut repair = repair(start);
        let again = repair.repeat(start + RTT, 3, RTT, RATE).unwrap();
        assert_eq!((again.header.ssrc, again.header.payload_type), (2, 99));
        assert_eq!((again.payload.len(), &again.payload[..3]), (1_002, &[0, 3, 7][..]));
        let next = repair.repeat(start + RTT, 65_535, RTT, RATE).unwrap();
        assert_eq!(next.header.sequence_number, again.header.sequence_number + 1);
    }

    #[test]
    fn not_twice_within_a_round_trip_and_not_when_it_is_too_late() {
        let start = Instant::now();
        let mut repair = repair(start);
        assert!(repair.repeat(start + RTT, 3, RTT, RATE).is_some());
        assert!(repair.repeat(start + RTT * 3 / 2, 3, RTT, RATE).is_none());
        assert!(repair.repeat(start + RTT * 2, 3, RTT, RATE).is_some());
        repair.arrived(3);
        assert!(repair.repeat(start + RTT * 4, 3, RTT, RATE).is_none(), "he has it");
        assert!(repair.repeat(start + MAX_AGE * 2, 4, RTT, RATE).is_none());
        assert!(repair.repeat(start + RTT, 300, RTT, RATE).is_none(), "never sent");
    }

    #[test]
    fn repairs_take_their_share_and_no_more() {
        let start = Instant::now();
        let mut repair = Repair::new(Form::Same { ssrc: 1 });
        let mut bytes = 0;
        for number in 0..2_000_u16 {
            let now = start + Duration::from_millis(u64::from(number) * 4);
            repair.keep(now, &packet(number));
            for back in 0..20 {
                let wanted = number.wrapping_sub(back);
                bytes +=
                    repair.repeat(now, wanted, RTT, RATE).map_or(0, |packet| packet.payload.len());
            }
        }
        let share = bytes as f64 * 8.0 / 8.0 / RATE;
        assert!((0.25..0.33).contains(&share), "{share}");
        assert!(repair.kept.len() <= 251);
    }
}
