//! What was sent and is not yet reported on.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Packets that are remembered: two seconds at 8 Mbit/s.
const CAPACITY: usize = 2048;
/// Nobody reports on what is older.
const MAX_AGE: Duration = Duration::from_secs(3);

/// One packet as it was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sent {
    pub at: Instant,
    pub bytes: u32,
    /// The picture packet it is, or repeats: its RTP sequence number.
    pub picture: Option<u16>,
    pub repair: bool,
    pub fate: Fate,
}

/// What is known of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Unknown,
    Lost,
    Arrived,
}

/// Packets by their transport-wide number, which has 16 bits and wraps.
#[derive(Debug, Default)]
pub(super) struct History {
    packets: VecDeque<Sent>,
    /// Number of the next packet.
    next: u16,
}

impl History {
    /// Remembers a packet and numbers it.
    pub fn push(&mut self, at: Instant, bytes: u32, picture: Option<u16>, repair: bool) -> u16 {
        while self.packets.len() >= CAPACITY
            || self.packets.front().is_some_and(|sent| at.duration_since(sent.at) > MAX_AGE)
        {
            self.packets.pop_front();
        }
        self.packets.push_back(Sent { at, bytes, picture, repair, fate: Fate::Unknown });
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }

    /// The packet with that number, if it is still remembered.
    pub fn get(&mut self, number: u16) -> Option<&mut Sent> {
        let behind = usize::from(self.next.wrapping_sub(number).wrapping_sub(1));
        let index = self.packets.len().checked_sub(behind + 1)?;
        self.packets.get_mut(index)
    }

    /// Bytes of the packets before `number`, back to the first one that is known of (or as many
    /// as `most`): their report was lost.
    pub fn unreported_before(&self, number: u16, most: usize) -> u32 {
        let behind = usize::from(self.next.wrapping_sub(number).wrapping_sub(1));
        let Some(index) = self.packets.len().checked_sub(behind + 1) else { return 0 };
        self.packets
            .range(..index)
            .rev()
            .take(most)
            .take_while(|sent| sent.fate == Fate::Unknown)
            .map(|sent| sent.bytes)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found_by_number_across_the_wrap_and_forgotten_with_time() {
        let start = Instant::now();
        let mut history = History::default();
        for index in 0..70_000_u32 {
            let number = history.push(start, index, None, false);
            assert_eq!(number, index as u16);
        }
        assert_eq!(history.get(69_999_u32 as u16).unwrap().bytes, 69_999);
        assert_eq!(history.get((70_000 - CAPACITY as u32) as u16).unwrap().bytes, 70_000 - 2048);
        assert!(history.get((70_000 - CAPACITY as u32 - 1) as u16).is_none(), "too old");
        assert!(history.get(70_000_u32 as u16).is_none(), "not yet sent");
        history.push(start + MAX_AGE * 2, 1, None, false);
        assert!(history.get(69_999_u32 as u16).is_none());
    }

    #[test]
    fn what_a_lost_report_was_about_is_counted() {
        let start = Instant::now();
        let mut history = History::default();
        for _ in 0..10 {
            history.push(start, 100, None, false);
        }
        history.get(3).unwrap().fate = Fate::Arrived;
        assert_eq!(history.unreported_before(7, 100), 300);
        assert_eq!(history.unreported_before(7, 2), 200);
        assert_eq!(history.unreported_before(4, 100), 0);
    }
}
