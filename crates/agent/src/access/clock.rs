//! What time it is, for tokens: also on a camera without a clock battery, which wakes up in 1970.
//!
//! What the kernel says is believed once something like NTP disciplines its clock. Until then the
//! rendezvous says what time it is, signed over a nonce of ours, so that it can't be an old answer;
//! each server's key is pinned when it is first seen. A server that lies can make the time later
//! than it is, by which tokens expire early; it can't make it earlier than this camera has known
//! it to be, by which they would live again.

use std::time::{Duration, Instant};

use peercam_protocol::{Nonce, PublicKey, RoomId, proof, signalling::ServerTime};
use serde::{Deserialize, Serialize};

/// 2025 in seconds after 1970: no camera of ours has run before that.
const OLDEST: u64 = 1_735_689_600;
/// The year 10000 in milliseconds: not a time.
const TOO_LATE_MS: u64 = 253_402_300_800_000;
/// Most servers whose keys are kept; of more, the first seen goes.
const MAX_PINS: usize = 16;
/// How far the latest known time may be ahead of what is in the file: a power cut takes the camera
/// back by no more than that. Flash memory wears out by writing.
const RARELY: u64 = 6 * 3600;
/// From when on in seconds it is worth a word that a server's time is behind what is known.
const BEHIND: u64 = 600;

/// What this machine's own clocks say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Seconds after 1970.
    pub system: u64,
    /// Whether something keeps that right.
    pub synchronised: bool,
    /// The clock that never goes back.
    pub at: Instant,
}

/// What outlives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Memory {
    /// The latest time that was known, in seconds after 1970.
    known: u64,
    servers: Vec<Pin>,
}

/// A server and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    url: String,
    key: PublicKey,
}

/// Why a server's time is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Not signed by the key beside it, or not as the answer to our nonce.
    #[error("the time that {0} sent is not signed as it should be and is not used")]
    Signature(String),
    /// By another key than before.
    #[error(
        "{url} signs its time with another key than before ({new}, not {old}): either it was set \
         up anew, or somebody stands between. Its time is not used; to trust the new key, stop \
         the camera and delete the server's entry from clock.toml in state-dir"
    )]
    AnotherKey {
        /// The server.
        url: String,
        /// The one that is pinned.
        old: PublicKey,
        /// The one that came.
        new: PublicKey,
    },
    /// No such time.
    #[error("the time that {0} sent lies beyond the year 9999 and is not used")]
    Absurd(String),
}

/// The clock. Readings of the machine's clocks are passed in.
#[derive(Debug)]
pub(super) struct Clock {
    memory: Memory,
    /// What the file has for `memory.known`.
    written: u64,
    /// Whether the file lacks more than that.
    changed: bool,
    /// What a server said, in milliseconds after 1970, and when.
    told: Option<(u64, Instant)>,
}

impl Clock {
    /// With what the file had.
    pub fn new(memory: Memory) -> Self {
        let written = memory.known;
        Self { memory, written, changed: false, told: None }
    }

    /// Seconds after 1970.
    pub fn now(&mut self, reading: Reading) -> u64 {
        let Reading { system, synchronised, at } = reading;
        if synchronised && system >= OLDEST {
            // Also where that is earlier: somebody lied before.
            self.memory.known = system;
            return system;
        }
        let Some((told, then)) = self.told else {
            // A clock that nobody keeps right may be ahead, too: what it says is not remembered.
            return system.max(self.memory.known).max(OLDEST);
        };
        let elapsed = at.saturating_duration_since(then);
        let told = (Duration::from_millis(told) + elapsed).as_secs();
        self.memory.known = self.memory.known.max(told).max(OLDEST);
        self.memory.known
    }

    /// Whether there is more to go by than the time of the last run.
    pub fn is_known(&self, reading: Reading) -> bool {
        reading.synchronised
            || self.told.is_some()
            || reading.system >= self.memory.known.max(OLDEST)
    }

    /// A server said what time it is, in answer to `nonce`. How far that is behind what was known,
    /// where it is worth a word.
    ///
    /// # Errors
    ///
    /// When it is not to be used.
    pub fn hear(
        &mut self,
        url: &str,
        room: &RoomId,
        nonce: &Nonce,
        time: &ServerTime,
        reading: Reading,
    ) -> Result<Option<Duration>, Refusal> {
        let ServerTime { unix_ms, key, signature } = time;
        if !key.verify(&proof::time(*unix_ms, room, nonce), signature) {
            return Err(Refusal::Signature(url.to_owned()));
        }
        if *unix_ms >= TOO_LATE_MS {
            return Err(Refusal::Absurd(url.to_owned()));
        }
        match self.memory.servers.iter().find(|pin| pin.url == url) {
            Some(pin) if pin.key == *key => {}
            Some(Pin { key: old, .. }) => {
                return Err(Refusal::AnotherKey { url: url.to_owned(), old: *old, new: *key });
            }
            None => {
                if self.memory.servers.len() >= MAX_PINS {
                    self.memory.servers.remove(0);
                }
                self.memory.servers.push(Pin { url: url.to_owned(), key: *key });
                self.changed = true;
            }
        }
        self.told = Some((*unix_ms, reading.at));
        if reading.synchronised {
            return Ok(None);
        }
        let behind = self.memory.known.saturating_sub(unix_ms / 1000);
        self.now(reading);
        Ok((behind > BEHIND).then(|| Duration::from_secs(behind)))
    }

    /// What is to be written now, if anything: when much of it is new, or `at_once` whatever is.
    pub fn to_write(&self, at_once: bool) -> Option<Memory> {
        let drift = self.memory.known.abs_diff(self.written);
        let due = self.changed || drift >= RARELY || (at_once && drift > 0);
        due.then(|| self.memory.clone())
    }

    /// This is in the file, or was tried to be put there.
    pub fn wrote(&mut self, memory: &Memory) {
        self.written = memory.known;
        self.changed = memory.servers != self.memory.servers;
    }
}

#[cfg(test)]
mod tests {
    use peercam_protocol::SecretKey;

    use super::*;

    /// Some day of 2027.
    const NOW: u64 = 1_800_000_000;
    const URL: &str = "wss://cam.example.org";
    const DAY: u64 = 86_400;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes(&[seed; 32])
    }

    fn room() -> RoomId {
        "garden".parse().unwrap()
    }

    fn nonce() -> Nonce {
        Nonce::from_bytes([3; 16])
    }

    /// Of a server whose clock is at `unix` seconds.
    fn signed(key: &SecretKey, unix: u64) -> ServerTime {
        let unix_ms = unix * 1000;
        let signature = key.sign(&proof::time(unix_ms, &room(), &nonce()));
        ServerTime { unix_ms, key: key.public(), signature }
    }

    /// A machine that has no battery, and its clocks.
    struct Machine {
        clock: Clock,
        started: Instant,
        /// What its clock said at the start.
        system: u64,
    }

    impl Machine {
        fn new(memory: Memory, system: u64) -> Self {
            Self { clock: Clock::new(memory), started: Instant::now(), system }
        }

        fn reading(&self, after: u64) -> Reading {
            let at = self.started + Duration::from_secs(after);
            Reading { system: self.system + after, synchronised: false, at }
        }

        fn now(&mut self, after: u64) -> u64 {
            self.clock.now(self.reading(after))
        }

        fn hear(&mut self, time: &ServerTime, after: u64) -> Result<Option<Duration>, Refusal> {
            let reading = self.reading(after);
            self.clock.hear(URL, &room(), &nonce(), time, reading)
        }

        /// A power cut, and the same machine again.
        fn restart(self, system: u64) -> Self {
            Self::new(self.clock.to_write(true).unwrap_or(self.clock.memory), system)
        }
    }

    #[test]
    fn a_camera_in_1970_goes_by_its_server() {
        let mut machine = Machine::new(Memory::default(), 100);
        assert_eq!(machine.now(0), OLDEST);
        assert!(!machine.clock.is_known(machine.reading(0)));
        assert_eq!(machine.hear(&signed(&key(1), NOW), 10), Ok(None));
        assert_eq!(machine.now(10), NOW);
        assert_eq!(machine.now(3610), NOW + 3600, "it goes on by itself");
        assert!(machine.clock.is_known(machine.reading(10)));
        // Without a server, the next time, it is as late as it was at least.
        let mut machine = machine.restart(0);
        assert_eq!(machine.now(60), NOW + 3600);
        assert!(!machine.clock.is_known(machine.reading(60)));
    }

    #[test]
    fn a_camera_in_the_future_goes_by_its_server_and_forgets_the_future() {
        let mut machine = Machine::new(Memory::default(), NOW + 9000 * DAY);
        assert_eq!(machine.now(0), NOW + 9000 * DAY);
        machine.hear(&signed(&key(1), NOW), 1).unwrap();
        assert_eq!(machine.now(1), NOW);
    }

    #[test]
    fn the_kernel_is_believed_once_it_is_synchronised() {
        let mut machine = Machine::new(Memory::default(), 0);
        // A lie that would make all tokens expire.
        machine.hear(&signed(&key(1), NOW + 1000 * DAY), 0).unwrap();
        assert_eq!(machine.now(0), NOW + 1000 * DAY);
        let at = machine.started;
        let ntp = Reading { system: NOW, synchronised: true, at };
        assert_eq!(machine.clock.now(ntp), NOW);
        assert!(machine.clock.is_known(ntp));
        // And what is remembered is the truth.
        assert_eq!(machine.restart(0).now(0), NOW);
    }

    #[test]
    fn a_server_that_lies_about_the_past_is_held_by_the_latest_known_time() {
        let mut machine = Machine::new(Memory::default(), 0);
        machine.hear(&signed(&key(1), NOW), 0).unwrap();
        let behind = machine.hear(&signed(&key(1), NOW - 30 * DAY), 10);
        assert_eq!(behind, Ok(Some(Duration::from_secs(30 * DAY))));
        assert_eq!(machine.now(20), NOW);
        let mut machine = machine.restart(0);
        machine.hear(&signed(&key(1), NOW - 30 * DAY), 0).unwrap();
        assert_eq!(machine.now(5), NOW);
    }

    #[test]
    fn a_time_that_is_not_signed_for_us_is_not_used() {
        let mut machine = Machine::new(Memory::default(), 0);
        let good = signed(&key(1), NOW);
        let refusal = Err(Refusal::Signature(URL.to_owned()));
        let changed = ServerTime { unix_ms: good.unix_ms + 1, ..good };
        assert_eq!(machine.hear(&changed, 0), refusal);
        let stolen = ServerTime { key: key(2).public(), ..good };
        assert_eq!(machine.hear(&stolen, 0), refusal);
        // An answer to another camera, or to an earlier question.
        let reading = machine.reading(0);
        let old = Nonce::from_bytes([4; 16]);
        assert_eq!(machine.clock.hear(URL, &room(), &old, &good, reading), refusal);
        let other = "kitchen".parse().unwrap();
        assert_eq!(machine.clock.hear(URL, &other, &nonce(), &good, reading), refusal);
        assert_eq!(machine.now(0), OLDEST);
        let absurd = Err(Refusal::Absurd(URL.to_owned()));
        assert_eq!(machine.hear(&signed(&key(1), TOO_LATE_MS / 1000), 0), absurd);
        assert_eq!(machine.clock.memory, Memory { known: 0, servers: Vec::new() });
    }

    #[test]
    fn another_key_of_the_same_server_is_not_trusted() {
        let mut machine = Machine::new(Memory::default(), 0);
        machine.hear(&signed(&key(1), NOW), 0).unwrap();
        let mut machine = machine.restart(0);
        let (old, new) = (key(1).public(), key(2).public());
        let refusal = machine.hear(&signed(&key(2), NOW + DAY), 0).unwrap_err();
        assert_eq!(refusal, Refusal::AnotherKey { url: URL.to_owned(), old, new });
        assert!(refusal.to_string().contains("clock.toml"), "{refusal}");
        assert_eq!(machine.now(0), NOW);
        machine.hear(&signed(&key(1), NOW + DAY), 0).unwrap();
        assert_eq!(machine.now(0), NOW + DAY);
    }

    #[test]
    fn keys_of_servers_are_bounded() {
        let mut machine = Machine::new(Memory::default(), 0);
        for nth in 0..2 * MAX_PINS {
            let (time, reading) = (signed(&key(1), NOW), machine.reading(0));
            let url = format!("ws://{nth}");
            machine.clock.hear(&url, &room(), &nonce(), &time, reading).unwrap();
        }
        assert_eq!(machine.clock.memory.servers.len(), MAX_PINS);
    }

    #[test]
    fn the_file_is_written_rarely() {
        let mut machine = Machine::new(Memory::default(), 0);
        machine.hear(&signed(&key(1), NOW), 0).unwrap();
        let memory = machine.clock.to_write(false).expect("a new key");
        machine.clock.wrote(&memory);
        machine.now(RARELY - 1);
        assert_eq!(machine.clock.to_write(false), None);
        assert!(machine.clock.to_write(true).is_some());
        machine.now(RARELY);
        let memory = machine.clock.to_write(false).expect("six hours");
        let text = toml::to_string(&memory).unwrap();
        assert_eq!(toml::from_str::<Memory>(&text).unwrap(), memory);
        machine.clock.wrote(&memory);
        assert_eq!(machine.clock.to_write(true), None);
    }
}
