//! The estimate of what one viewer's path carries.
//!
//! | what is seen | what follows |
//! |---|---|
//! | a standing queue that grows | a cut to 50–88 % of the rate at which packets arrive |
//! | a standing queue that stays though less is sent | a short pause that drains it; where even that changes nothing it is no queue of ours, and counts as the path's delay |
//! | far more loss than usual on this path | a cut to what arrives; where that doesn't lessen it, it becomes the usual |
//! | no queue, and as much is sent as may be | growth: 5 % a second near the last known limit, 20 % elsewhere |
//! | no reports at all | hardly anything is sent until they come back |

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, SymbolTypeTcc, TransportLayerCc,
};
use tracing::debug;

use super::{
    arrivals::Arrivals,
    burst::Bursts,
    history::{Fate, History},
    loss::Loss,
};

/// A standing queue below this is none, in µs. Above it the link counts as full.
const EMPTY: i64 = 15_000;
/// A standing queue that calls for less, in µs.
const OVERUSE: i64 = 40_000;
/// The queue's trend is seen over so long.
const TREND: Duration = Duration::from_millis(200);
/// Less than this in [`TREND`] is no change, in µs.
const TREND_NOISE: i64 = 4_000;
/// After a change, so much more than a round trip passes until its effect is judged.
const EFFECT: Duration = Duration::from_millis(250);
/// A queue that stood for so long is drained by a pause.
const STUBBORN: Duration = Duration::from_secs(4);
/// Longest pause.
const MAX_DRAIN: Duration = Duration::from_secs(3);
/// What is known of a limit is kept for so long.
const CAPACITY_AGE: Duration = Duration::from_secs(30);
/// Growth a second, near the last known limit and elsewhere.
const CAREFUL: f64 = 0.05;
const BRISK: f64 = 0.2;
/// Without reports for so long the path counts as broken.
const BLIND: Duration = Duration::from_millis(700);
/// UDP, IP and SRTP around each RTP packet, in bytes.
const OVERHEAD: u32 = 38;
/// Reports about more packets than are remembered are not believed.
const MAX_REPORTED: u16 = 2048;

/// Between what the estimate moves, in kbit/s on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) struct Limits {
    pub floor: u32,
    /// Also where it begins.
    pub ceiling: u32,
}

/// What a viewer without transport-wide feedback says of a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::session) enum Report {
    /// Share of packets lost since his last report (RFC 3550 §6.4.1).
    Lost(f64),
    /// His own estimate in bit/s (draft-alvestrand-rmcat-remb-03).
    Estimate(f64),
}

/// What a report says of a picture packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Picture {
    /// It is lost, or what repeated it is.
    Lost,
    /// It has come after all, or what repeated it has.
    Arrived,
}

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::session) struct Status {
    /// What may be sent in all, in kbit/s on the wire.
    pub target_kbps: u32,
    /// What of it is left for first transmissions.
    pub media_kbps: u32,
    /// It grows, and no limit is known.
    pub open: bool,
    /// The standing queue.
    pub queue: Duration,
    /// Round trip, feedback's own delay included.
    pub rtt: Duration,
    /// Share of packets lost.
    pub loss: f64,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target_kbps, media_kbps, queue, rtt, loss, .. } = self;
        let (queue, rtt, loss) = (queue.as_millis(), rtt.as_millis(), loss * 100.0);
        write!(
            f,
            "estimate {target_kbps} kbit/s, {media_kbps} for media; queue {queue} ms, round trip \
             {rtt} ms, {loss:.1} % lost"
        )
    }
}

/// A pause.
#[derive(Debug, Clone, Copy)]
struct Drain {
    since: Instant,
    /// The standing queue at its beginning.
    queue: i64,
}

/// See the module.
#[derive(Debug)]
pub(in crate::session) struct Controller {
    limits: (f64, f64),
    epoch: Instant,
    history: History,
    arrivals: Arrivals,
    loss: Loss,
    bursts: Bursts,
    /// bit/s on the wire.
    target: f64,
    /// What arrived when the link was full, bit/s, and when that was.
    capacity: Option<(f64, Instant)>,
    /// Standing queue after each report of the last [`TREND`], and one before it.
    queue: VecDeque<(Instant, i64)>,
    full_since: Option<Instant>,
    cut: Option<Instant>,
    /// Loss before a cut that was made because of it, until its effect is known.
    loss_cut: Option<(Instant, f64)>,
    drain: Option<Drain>,
    grown: Instant,
    /// It grows, and no limit is known.
    open: bool,
    reported: Option<Instant>,
    sent: Option<Instant>,
    round_trips: VecDeque<Duration>,
    /// Reference time of the last report, unwrapped, in its own unit of 64 ms.
    reference: Option<i64>,
    /// Share of what is sent that is sent again.
    repair: Share,
}

impl Controller {
    /// Begins at the ceiling: a path is good until it proves otherwise.
    pub fn new(now: Instant, limits: Limits) -> Self {
        let limits = (f64::from(limits.floor) * 1e3, f64::from(limits.ceiling) * 1e3);
        Self {
            limits,
            epoch: now,
            history: History::default(),
            arrivals: Arrivals::default(),
            loss: Loss::default(),
            bursts: Bursts::default(),
            target: limits.1,
            capacity: None,
            queue: VecDeque::new(),
            full_since: None,
            cut: None,
            loss_cut: None,
            drain: None,
            grown: now,
            open: false,
            reported: None,
            sent: None,
            round_trips: VecDeque::new(),
            reference: None,
            repair: Share::default(),
        }
    }

    /// A packet of `bytes` (RTP, header included) leaves now. `picture`: the sequence number of the
    /// picture packet that it is, or repeats (`repair`). Its transport-wide number.
    pub fn sent(&mut self, now: Instant, bytes: usize, picture: Option<u16>, repair: bool) -> u16 {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(OVERHEAD);
        self.sent = Some(now);
        self.repair.add(now, bytes, repair);
        self.history.push(now, bytes, picture, repair)
    }

    /// The viewer reports. What that means for picture packets, by their sequence number; none
    /// where the report makes no sense and was ignored.
    pub fn feedback(
        &mut self,
        now: Instant,
        report: &TransportLayerCc,
    ) -> Option<Vec<(u16, Picture)>> {
        if report.packet_status_count > MAX_REPORTED {
            return None;
        }
        let mut news = Vec::new();
        let (mut arrived, mut lost) = (0, 0);
        let mut latest: Option<Instant> = None;
        let known = self.reported.is_some();
        let missing = self.history.unreported_before(report.base_sequence_number, 200);
        let mut time = self.reference(report.reference_time) * 64_000;
        let mut first = None;
        let mut deltas = report.recv_deltas.iter();
        let mut number = report.base_sequence_number;
        for symbol in symbols(report).take(usize::from(report.packet_status_count)) {
            let at = match symbol {
                SymbolTypeTcc::PacketReceivedSmallDelta
                | SymbolTypeTcc::PacketReceivedLargeDelta => {
                    let Some(delta) = deltas.next() else { break };
                    time += delta.delta;
                    Some(time)
                }
                SymbolTypeTcc::PacketNotReceived => None,
                SymbolTypeTcc::PacketReceivedWithoutDelta => {
                    number = number.wrapping_add(1);
                    continue;
                }
            };
            if let Some(sent) = self.history.get(number) {
                match (sent.fate, at) {
                    (Fate::Unknown, None) => {
                        sent.fate = Fate::Lost;
                        lost += 1;
                        news.extend(sent.picture.map(|number| (number, Picture::Lost)));
                        self.bursts.interrupt();
                    }
                    (Fate::Unknown | Fate::Lost, Some(at)) => {
                        if sent.fate == Fate::Lost {
                            self.loss.correct();
                        }
                        if sent.repair || sent.fate == Fate::Lost {
                            news.extend(sent.picture.map(|number| (number, Picture::Arrived)));
                        }
                        sent.fate = Fate::Arrived;
                        arrived += 1;
                        first.get_or_insert(at);
                        latest = latest.max(Some(sent.at));
                        let (left, bytes) = (micros(sent.at, self.epoch), sent.bytes);
                        self.arrivals.push(left, at, bytes);
                        self.bursts.push(left, at, bytes);
                    }
                    _ => {}
                }
            }
            number = number.wrapping_add(1);
        }
        if let (Some(at), true) = (first, known && missing > 0) {
            let passed = 1.0 - self.loss.ratio().unwrap_or_default();
            self.arrivals.push_unreported(at, (f64::from(missing) * passed) as u32);
        }
        if let Some(sent) = latest {
            if self.round_trips.len() == 16 {
                self.round_trips.pop_front();
            }
            self.round_trips.push_back(now.saturating_duration_since(sent));
        }
        self.loss.add(now, arrived, lost);
        if self.is_blind(now) {
            // What was learnt before does not tell what changed.
            self.forget_trend(now);
        }
        self.reported = Some(now);
        self.assess(now);
        Some(news)
    }

    /// From a viewer without transport-wide feedback.
    pub fn report(&mut self, now: Instant, report: Report) {
        if self.reference.is_some() {
            return;
        }
        self.reported = Some(now);
        match report {
            Report::Estimate(rate) if rate.is_finite() => self.aim(rate),
            Report::Lost(share) if share > 0.1 => {
                if self.cut.is_none_or(|cut| now.duration_since(cut) >= Duration::from_secs(1)) {
                    self.cut = Some(now);
                    self.aim(self.target * (1.0 - share.min(1.0) / 2.0));
                }
            }
            Report::Lost(share) if share < 0.02 => self.aim(self.target * 1.05),
            Report::Lost(_) | Report::Estimate(_) => {}
        }
    }

    /// The packets take another path: what is known of the old one is forgotten.
    pub fn path_changed(&mut self, now: Instant) {
        self.arrivals.clear();
        self.bursts.reset();
        self.loss = Loss::default();
        self.loss_cut = None;
        self.capacity = None;
        self.round_trips.clear();
        self.forget_trend(now);
    }

    fn forget_trend(&mut self, now: Instant) {
        self.queue.clear();
        self.full_since = None;
        self.drain = None;
        self.grown = now;
    }

    /// How things stand.
    pub fn status(&self, now: Instant) -> Status {
        let media = self.target * (1.0 - self.repair.share(now));
        Status {
            target_kbps: (self.target / 1e3) as u32,
            media_kbps: (media / 1e3) as u32,
            open: self.open,
            queue: Duration::from_micros(self.queue().unsigned_abs()),
            rtt: self.rtt(),
            loss: self.loss.ratio().unwrap_or_default(),
        }
    }

    /// What may be sent in all, in bit/s on the wire.
    pub fn target(&self) -> f64 {
        self.target
    }

    /// The round trip, feedback's own delay included: the least of the last few.
    pub fn rtt(&self) -> Duration {
        self.round_trips.iter().min().copied().unwrap_or(Duration::from_millis(100))
    }

    /// How fast packets may leave just now, in bit/s.
    pub fn pace(&self, now: Instant) -> f64 {
        if self.is_blind(now) {
            return (self.target / 8.0).max(64e3);
        }
        match (self.drain, self.capacity) {
            (Some(_), Some((capacity, _))) => capacity / 2.0,
            (Some(_), None) => self.target / 2.0,
            // What the link can't take waits here, where it can be dropped.
            (None, _) if self.queue() >= OVERUSE => self.target,
            (None, _) => (self.target * 1.3).max(self.bursts.rate() * 0.9),
        }
    }

    /// The standing queue as it was last seen, in µs.
    fn queue(&self) -> i64 {
        self.queue.back().map_or(0, |(_, queue)| *queue)
    }

    /// Whether reports have stopped coming though packets leave.
    fn is_blind(&self, now: Instant) -> bool {
        self.reported.zip(self.sent).is_some_and(|(reported, sent)| {
            let limit = BLIND + self.rtt();
            sent > reported && now.saturating_duration_since(reported) > limit
        })
    }

    /// Unwraps a reference time of 24 bits.
    fn reference(&mut self, time: u32) -> i64 {
        const WRAP: i64 = 1 << 24;
        let time = i64::from(time) % WRAP;
        let time = match self.reference {
            None => time,
            Some(last) => {
                let ahead = (time - last).rem_euclid(WRAP);
                if ahead < WRAP / 2 { last + ahead } else { last + ahead - WRAP }
            }
        };
        self.reference = Some(time);
        time
    }

    fn assess(&mut self, now: Instant) {
        let Some(queue) = self.arrivals.standing() else { return };
        let trend = self.trend(now, queue);
        if queue < EMPTY {
            self.full_since = None;
        } else if self.full_since.is_none() {
            self.full_since = Some(now);
        }
        self.judge_loss_cut(now);
        if let Some(drain) = self.drain {
            self.drain(now, queue, drain);
        } else if queue >= OVERUSE && trend > TREND_NOISE {
            if self.may_cut(now) {
                self.cut_to_arrivals(now, queue);
            }
        } else if queue >= OVERUSE && trend > -TREND_NOISE {
            match self.cut.filter(|cut| self.full_since.is_some_and(|since| since <= *cut)) {
                // Less is sent, and the queue stays.
                Some(cut) if now.duration_since(cut) >= self.rtt() + EFFECT * 2 => {
                    self.drain = Some(Drain { since: now, queue });
                }
                None if self.may_cut(now) => self.cut_to_arrivals(now, queue),
                _ => {}
            }
        } else if self.full_since.is_some_and(|since| now.duration_since(since) >= STUBBORN) {
            self.drain = Some(Drain { since: now, queue });
        } else if self.loss.excessive() && self.may_cut(now) {
            self.cut_to_loss(now);
        } else if queue < EMPTY {
            self.grow(now);
            return;
        }
        self.grown = now;
        self.open = false;
    }

    /// How the standing queue has changed, in µs.
    fn trend(&mut self, now: Instant, queue: i64) -> i64 {
        let before = now.checked_sub(TREND);
        while self.queue.get(1).is_some_and(|(at, _)| before.is_some_and(|before| *at <= before)) {
            self.queue.pop_front();
        }
        self.queue.push_back((now, queue));
        self.queue.front().map_or(0, |(_, earlier)| queue - earlier)
    }

    fn may_cut(&self, now: Instant) -> bool {
        self.cut.is_none_or(|cut| now.duration_since(cut) >= self.rtt() + EFFECT)
    }

    /// The link is full: what arrives is what it carries. The more stands in the queue, the less
    /// is sent, so that it drains within about a second.
    fn cut_to_arrivals(&mut self, now: Instant, queue: i64) {
        let full = self.full_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        let window = (full.as_micros() as i64 + 150_000).min(500_000);
        // After a stall the last moment is what counts: the link carries that much.
        let rates = [self.arrivals.rate(window), self.arrivals.rate(200_000)];
        let Some(rate) = rates.into_iter().flatten().reduce(f64::max) else { return };
        let share = (0.92 - queue as f64 / 1e6).clamp(0.5, 0.88);
        self.capacity = Some((rate, now));
        self.bursts.limit(rate * 1.5);
        self.cut = Some(now);
        if rate * share < self.target {
            // One look may be wrong: not by more than half at once.
            self.aim((rate * share).max(self.target / 2.0));
            self.say("the link is full", rate);
        }
    }

    fn cut_to_loss(&mut self, now: Instant) {
        let Some(rate) = self.arrivals.rate(900_000) else { return };
        self.loss_cut = self.loss.ratio().map(|loss| (now, loss));
        self.loss.restart();
        self.capacity = Some((rate, now));
        self.bursts.limit(rate * 1.2);
        self.cut = Some(now);
        self.aim(self.target.min(rate * 0.95));
        self.say("too much is lost", rate);
    }

    fn judge_loss_cut(&mut self, now: Instant) {
        let Some((cut, before)) = self.loss_cut else { return };
        if now.duration_since(cut) < Duration::from_secs(2) {
            return;
        }
        if let Some(loss) = self.loss.ratio() {
            self.loss_cut = None;
            if loss > before * 0.75 {
                self.loss.accept();
                self.capacity = None;
            }
        }
    }

    /// A pause goes on until the queue is gone, or is seen to be no queue of ours.
    fn drain(&mut self, now: Instant, queue: i64, drain: Drain) {
        let elapsed = now.duration_since(drain.since);
        if queue < EMPTY {
            self.drain = None;
            return;
        }
        let unchanged = queue > drain.queue * 7 / 10;
        if elapsed > MAX_DRAIN || (elapsed > self.rtt() + EFFECT * 2 && unchanged) {
            self.say("a queue that is not ours", self.capacity.map_or(0.0, |(rate, _)| rate));
            self.arrivals.rebase();
            self.forget_trend(now);
            if unchanged {
                // What arrived was all that was sent, not all that fits.
                self.capacity = None;
            }
        }
    }

    fn grow(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.grown).as_secs_f64().min(1.0);
        self.grown = now;
        let capacity = self
            .capacity
            .filter(|(_, seen)| now.duration_since(*seen) < CAPACITY_AGE)
            .map(|(rate, _)| rate);
        let mut target = self.target;
        if let Some(capacity) = capacity {
            if self.cut.is_none_or(|cut| now.duration_since(cut) >= self.rtt() + EFFECT) {
                // The queue has drained, and what the link carries is known.
                target = target.max(capacity * 0.88);
            }
            if target > capacity * 1.1 {
                self.capacity = None;
            }
        }
        // More than was ever tried is not claimed.
        let tried = self.arrivals.rate(900_000).unwrap_or_default() * 1.5 + 50e3;
        if target < tried {
            let pace = match self.capacity {
                Some((capacity, _)) if target > capacity * 0.85 => CAREFUL,
                _ => BRISK,
            };
            target = (target * (1.0 + pace * elapsed)).min(tried);
        }
        self.open = self.capacity.is_none();
        self.aim(target);
    }

    fn say(&self, what: &str, arrives: f64) {
        let (target, arrives) = ((self.target / 1e3) as u32, (arrives / 1e3) as u32);
        let queue = self.queue() / 1_000;
        debug!(target, arrives, queue, "estimate: {what}");
    }

    fn aim(&mut self, rate: f64) {
        let (floor, ceiling) = self.limits;
        self.target = rate.clamp(floor, ceiling.max(floor));
    }
}

/// What of all that is sent is sent again, over about a second.
#[derive(Debug, Default)]
struct Share {
    all: f64,
    repair: f64,
    updated: Option<Instant>,
}

impl Share {
    fn fade(&self, now: Instant) -> f64 {
        let elapsed = self.updated.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        (-elapsed.as_secs_f64()).exp()
    }

    fn add(&mut self, now: Instant, bytes: u32, repair: bool) {
        let fade = self.fade(now);
        self.all = self.all * fade + f64::from(bytes);
        self.repair = self.repair * fade + if repair { f64::from(bytes) } else { 0.0 };
        self.updated = Some(now);
    }

    fn share(&self, now: Instant) -> f64 {
        let fade = self.fade(now);
        // A few packets at the beginning are no share of anything.
        self.repair * fade / (self.all * fade).max(20_000.0)
    }
}

fn symbols(report: &TransportLayerCc) -> impl Iterator<Item = SymbolTypeTcc> + '_ {
    report.packet_chunks.iter().flat_map(|chunk| {
        let (repeated, times, listed) = match chunk {
            PacketStatusChunk::RunLengthChunk(run) => {
                (run.packet_status_symbol, usize::from(run.run_length), &[][..])
            }
            PacketStatusChunk::StatusVectorChunk(vector) => {
                (SymbolTypeTcc::PacketNotReceived, 0, &vector.symbol_list[..])
            }
        };
        std::iter::repeat_n(repeated, times).chain(listed.iter().copied())
    })
}

fn micros(at: Instant, epoch: Instant) -> i64 {
    i64::try_from(at.saturating_duration_since(epoch).as_micros()).unwrap_or(i64::MAX)
}
