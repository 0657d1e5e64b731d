//! Access units as RTP payloads (RFC 6184), made once however many viewers there are.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use peercam_media::AccessUnit;
use rtc::rtp::{codec::h264::H264Payloader, packetizer::Payloader};

/// Largest payload in bytes: with RTP, SRTP, UDP, IPv6 and a TURN relay's headers around it still
/// below 1280, the smallest MTU of IPv6 (RFC 8200 §5).
const MAX_PAYLOAD: usize = 1160;

/// Access units whose payloads are kept, of both encodes. Viewers run within a frame of each
/// other; one who is further behind packetizes for himself.
const KEPT: usize = 16;

/// The payloads of one access unit, in order.
pub type Payloads = Arc<[Bytes]>;

/// Packetizes for all sessions.
#[derive(Debug, Default)]
pub struct Packetizer {
    recent: Mutex<VecDeque<(Arc<AccessUnit>, Payloads)>>,
}

impl Packetizer {
    /// The payloads of `unit`; the first session to ask does the work. Empty where the unit is no
    /// H.264 in Annex B format.
    pub fn payloads(&self, unit: &Arc<AccessUnit>) -> Payloads {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, payloads)) = recent.iter().rev().find(|(kept, _)| Arc::ptr_eq(kept, unit)) {
            return payloads.clone();
        }
        // A payloader keeps parameter sets for the picture behind them; a unit has both.
        let payloads =
            H264Payloader::default().payload(MAX_PAYLOAD, &unit.data).unwrap_or_default();
        let payloads: Payloads = payloads.into();
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back((unit.clone(), payloads.clone()));
        payloads
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn unit(nals: &[&[u8]]) -> Arc<AccessUnit> {
        let data: Vec<u8> = nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect();
        Arc::new(AccessUnit {
            data: data.into(),
            key: true,
            pts: Duration::ZERO,
            captured: SystemTime::UNIX_EPOCH,
        })
    }

    #[test]
    fn parameter_sets_travel_together_and_a_large_slice_in_fragments() {
        let slice = [&[0x65][..], &[7; 3000]].concat();
        let payloads = Packetizer::default().payloads(&unit(&[&[0x67, 1], &[0x68, 2], &slice]));
        // STAP-A, then three FU-A: first, middle, last.
        let kinds: Vec<u8> = payloads.iter().map(|payload| payload[0] & 0x1f).collect();
        assert_eq!(kinds, [24, 28, 28, 28]);
        let ends: Vec<u8> = payloads[1..].iter().map(|payload| payload[1] >> 6).collect();
        assert_eq!(ends, [0b10, 0b00, 0b01]);
        assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
    }

    #[test]
    fn the_second_viewer_gets_what_the_first_had_made() {
        let packetizer = Packetizer::default();
        let unit = unit(&[&[0x41, 1, 2, 3]]);
        let first = packetizer.payloads(&unit);
        assert!(Arc::ptr_eq(&first, &packetizer.payloads(&unit)));
    }

    #[test]
    fn what_is_no_picture_makes_no_packets() {
        assert!(Packetizer::default().payloads(&unit(&[])).is_empty());
    }
}
