//! A link with rate, queue, delay and loss, an encoder that follows the estimate, and a viewer who
//! reports: what the estimate does over many seconds, in a moment. All chance comes from a seed.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc,
    SymbolTypeTcc, TransportLayerCc,
};

use super::{Controller, Limits, Pacer, Picture};

const MS: u64 = 1_000;

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What lies between camera and viewer. Times in µs.
#[derive(Clone, Copy)]
struct Path {
    /// bit/s.
    rate: f64,
    /// One way.
    delay: u64,
    /// Longest time in the queue.
    queue: u64,
    loss: f64,
    /// Others' traffic through the same queue, bit/s.
    others: f64,
    /// Jitter behind the queue, at most.
    jitter: u64,
}

const GOOD: Path =
    Path { rate: 100e6, delay: 10 * MS, queue: 500 * MS, loss: 0.0, others: 0.0, jitter: 0 };

struct Packet {
    bytes: usize,
    frame: u64,
}

struct World {
    start: Instant,
    now: u64,
    chance: Chance,
    path: Path,
    controller: Controller,
    pacer: Pacer,
    waiting: VecDeque<Packet>,
    /// When the link's queue is empty.
    link_free: u64,
    last_arrival: u64,
    /// Packets that will arrive: number, arrival.
    arriving: Vec<(u16, u64)>,
    /// Arrived and not yet reported.
    arrived: Vec<(u16, u64)>,
    /// Next number to be reported on.
    reported: u16,
    numbered: u16,
    reports: VecDeque<(u64, TransportLayerCc)>,
    next_report: u64,
    count: u8,
    /// How much faster the viewer's clock runs.
    drift: f64,
    next_frame: u64,
    frames: u64,
    /// The encoder's rate, which follows with a delay.
    encoder: f64,
    orders: VecDeque<(u64, f64)>,
    /// Most the encoder gives.
    busy: f64,
    /// Each second: target, greatest latency of a packet in it, bytes arrived.
    seconds: Vec<Second>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    target: f64,
    latency: u64,
    bytes: u64,
}

impl World {
    fn new(seed: u64, path: Path) -> Self {
        let start = Instant::now();
        let controller = Controller::new(start, Limits { floor: 150, ceiling: 2_300 });
        Self {
            start,
            now: 0,
            chance: Chance(seed | 1),
            path,
            pacer: Pacer::new(start, controller.pace(start)),
            controller,
            waiting: VecDeque::new(),
            link_free: 0,
            last_arrival: 0,
            arriving: Vec::new(),
            arrived: Vec::new(),
            reported: 0,
            numbered: 0,
            reports: VecDeque::new(),
            next_report: 50 * MS,
            count: 0,
            drift: 0.0,
            next_frame: 0,
            frames: 0,
            encoder: 2e6,
            orders: VecDeque::new(),
            busy: 2e6,
            seconds: Vec::new(),
        }
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn run(&mut self, seconds: u64) -> &[Second] {
        let from = self.seconds.len();
        for _ in 0..seconds {
            self.seconds.push(Second::default());
            for _ in 0..1_000 {
                self.now += MS;
                self.step();
            }
            let target = self.controller.target();
            assert!((150e3..=2_300e3).contains(&target), "{target} leaves the limits");
            if let Some(second) = self.seconds.last_mut() {
                second.target = target;
            }
        }
        &self.seconds[from..]
    }

    fn step(&mut self) {
        let now = self.instant();
        while self.reports.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, report) = self.reports.pop_front().unwrap();
            self.controller.feedback(now, &report);
            let wish = self.controller.status(now).media_kbps;
            let order = (f64::from(wish) * 1e3 / 1.1).min(self.busy).max(120e3);
            self.orders.push_back((self.now + 50 * MS, order));
        }
        while self.orders.front().is_some_and(|(at, _)| *at <= self.now) {
            self.encoder = self.orders.pop_front().unwrap().1;
        }
        if self.now >= self.next_frame {
            self.next_frame += 33_333;
            // A key frame each two seconds, six times as large as the others.
            let key = self.frames.is_multiple_of(60);
            let size = self.encoder / 8.0 / 30.0
                * if key { 6.0 } else { 55.0 / 60.0 }
                * (0.8 + 0.4 * self.chance.next());
            let mut left = size as usize;
            // What the agent's sender does: to the next key frame rather than queued.
            let queued: usize = self.waiting.iter().map(|packet| packet.bytes).sum();
            if key || self.pacer.duration(queued) < Duration::from_millis(300) {
                while left > 0 {
                    let bytes = left.min(1_180);
                    self.waiting.push_back(Packet { bytes, frame: self.now });
                    left -= bytes;
                }
            }
            self.frames += 1;
        }
        self.pacer.set_rate(now, self.controller.pace(now));
        while !self.waiting.is_empty() && self.pacer.ready(now) {
            let packet = self.waiting.pop_front().unwrap();
            self.pacer.left(now, packet.bytes + 38);
            self.send(&packet);
        }
        self.receive();
    }

    fn send(&mut self, packet: &Packet) {
        let number = self.controller.sent(self.instant(), packet.bytes, None, false);
        self.numbered = number.wrapping_add(1);
        let Path { rate, delay, queue, loss, others, jitter } = self.path;
        let free = self.link_free.max(self.now);
        if free - self.now > queue || self.chance.next() < loss {
            return;
        }
        // Others take their part of the link while this packet is on it.
        let own = (rate - others).max(rate / 10.0);
        self.link_free = free + ((packet.bytes + 38) as f64 * 8e6 / own) as u64;
        let late = (self.chance.next() * jitter as f64) as u64;
        // In order, as on nearly every path.
        let arrival = (self.link_free + delay + late).max(self.last_arrival);
        self.last_arrival = arrival;
        self.arriving.push((number, arrival));
        if let Some(second) = self.seconds.last_mut() {
            second.latency = second.latency.max(arrival - packet.frame);
            second.bytes += packet.bytes as u64 + 38;
        }
    }

    fn receive(&mut self) {
        let now = self.now;
        self.arrived.extend(self.arriving.iter().filter(|(_, at)| *at <= now));
        self.arriving.retain(|(_, at)| *at > now);
        if self.now < self.next_report {
            return;
        }
        self.next_report = self.now + 60 * MS + (self.chance.next() * 40.0) as u64 * MS;
        let Some(last) =
            self.arrived.iter().map(|(number, _)| number.wrapping_sub(self.reported)).max()
        else {
            return;
        };
        let drift = self.drift;
        let clock = |at: u64| (at as f64 * (1.0 + drift)) as i64 + 7_000_000_000;
        let first = self.arrived.iter().map(|(_, at)| clock(*at)).min().unwrap();
        let reference = first / 64_000;
        let mut time = reference * 64_000;
        let mut symbols = Vec::new();
        let mut recv_deltas = Vec::new();
        for ahead in 0..=last {
            let number = self.reported.wrapping_add(ahead);
            let Some((_, at)) = self.arrived.iter().find(|(arrived, _)| *arrived == number) else {
                symbols.push(SymbolTypeTcc::PacketNotReceived);
                continue;
            };
            let delta = (clock(*at) - time) / 250 * 250;
            time += delta;
            let symbol = SymbolTypeTcc::PacketReceivedLargeDelta;
            symbols.push(symbol);
            recv_deltas.push(RecvDelta { type_tcc_packet: symbol, delta });
        }
        let report = TransportLayerCc {
            base_sequence_number: self.reported,
            packet_status_count: symbols.len() as u16,
            reference_time: (reference & 0xff_ffff) as u32,
            fb_pkt_count: self.count,
            packet_chunks: vec![PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                symbol_size: SymbolSizeTypeTcc::TwoBit,
                symbol_list: symbols,
            })],
            recv_deltas,
            ..Default::default()
        };
        self.count = self.count.wrapping_add(1);
        self.reported = self.reported.wrapping_add(last + 1);
        self.arrived.clear();
        if self.chance.next() >= self.path.loss {
            self.reports.push_back((self.now + self.path.delay, report));
        }
    }
}

/// Runs a story with some seeds; what fails says with which.
fn with_seeds(story: impl Fn(u64)) {
    for seed in [1, 22, 333, 4_444, 55_555, 666_666] {
        eprintln!("seed {seed}");
        story(seed);
    }
}

fn least(seconds: &[Second]) -> f64 {
    seconds.iter().map(|second| second.target).fold(f64::MAX, f64::min)
}

fn mean(seconds: &[Second]) -> f64 {
    seconds.iter().map(|second| second.target).sum::<f64>() / seconds.len() as f64
}

fn worst(seconds: &[Second]) -> u64 {
    seconds.iter().map(|second| second.latency / MS).max().unwrap_or_default()
}

fn table(seconds: &[Second]) -> String {
    seconds.iter().fold(String::new(), |all, second| {
        let (target, latency, rate) =
            (second.target / 1e3, second.latency / MS, second.bytes * 8 / 1_000);
        all + &format!("\n{target:6.0} kbit/s target, {rate:5} sent, {latency:4} ms at most")
    })
}

#[test]
fn a_good_path_is_left_alone() {
    with_seeds(|seed| {
        let mut world = World::new(seed, Path { jitter: 5 * MS, ..GOOD });
        let seconds = world.run(60);
        assert_eq!(least(seconds), 2_300e3, "{}", table(seconds));
        assert!(worst(&seconds[2..]) < 60, "{}", table(seconds));
    });
}

#[test]
fn a_bottleneck_is_followed_within_two_seconds_and_left_within_twenty() {
    with_seeds(|seed| {
        let mut world = World::new(seed, GOOD);
        world.run(10);
        world.path.rate = 1.2e6;
        let narrow = world.run(20).to_vec();
        assert!(narrow[1].target < 1.2e6, "{}", table(&narrow));
        assert!(worst(&narrow[4..]) < 350, "{}", table(&narrow));
        assert!(mean(&narrow[4..]) > 0.75 * 1.2e6, "{}", table(&narrow));
        world.path.rate = GOOD.rate;
        let wide = world.run(20);
        assert!(wide[19].target > 0.9 * 2.3e6, "{}", table(wide));
    });
}

#[test]
fn a_bottleneck_from_the_beginning_is_found() {
    with_seeds(|seed| {
        let mut world = World::new(seed, Path { rate: 0.8e6, queue: 1_000 * MS, ..GOOD });
        let seconds = world.run(20);
        assert!(seconds[3].target < 0.85e6, "{}", table(seconds));
        assert!(worst(&seconds[8..]) < 400, "{}", table(seconds));
        assert!(mean(&seconds[8..]) > 0.7 * 0.8e6, "{}", table(seconds));
    });
}

#[test]
fn random_loss_is_no_congestion() {
    with_seeds(|seed| {
        for loss in [0.01, 0.05, 0.1] {
            let mut world = World::new(seed, Path { delay: 30 * MS, ..GOOD });
            world.run(5);
            world.path.loss = loss;
            let seconds = world.run(40);
            assert!(least(seconds) > 0.8 * 2.3e6, "{loss}: {}", table(seconds));
        }
    });
}

#[test]
fn loss_in_a_bottleneck_does_not_hide_it() {
    with_seeds(|seed| {
        let path = Path { delay: 30 * MS, loss: 0.05, ..GOOD };
        let mut world = World::new(seed, path);
        world.run(5);
        world.path.rate = 1.2e6;
        let narrow = world.run(20);
        assert!(worst(&narrow[5..]) < 400, "{}", table(narrow));
        assert!(mean(&narrow[5..]) > 0.65 * 1.2e6, "{}", table(narrow));
    });
}

#[test]
fn a_link_that_drops_what_it_cannot_carry_is_found_by_its_loss() {
    with_seeds(|seed| {
        let mut world = World::new(seed, GOOD);
        world.run(5);
        world.path = Path { rate: 1.2e6, queue: 25 * MS, ..GOOD };
        let seconds = world.run(30);
        assert!(mean(&seconds[5..]) < 1.6e6, "{}", table(seconds));
        assert!(mean(&seconds[5..]) > 0.7e6, "{}", table(seconds));
    });
}

#[test]
fn a_longer_way_is_no_queue() {
    with_seeds(|seed| {
        let mut world = World::new(seed, GOOD);
        world.run(5);
        world.path.delay += 80 * MS;
        let seconds = world.run(15);
        assert!(least(seconds) > 0.45 * 2.3e6, "{}", table(seconds));
        assert!(seconds[14].target > 0.95 * 2.3e6, "{}", table(seconds));
    });
}

#[test]
fn jitter_of_a_radio_is_no_queue() {
    with_seeds(|seed| {
        let mut world = World::new(seed, Path { jitter: 40 * MS, ..GOOD });
        let seconds = world.run(40);
        assert!(least(seconds) > 0.8 * 2.3e6, "{}", table(seconds));
    });
}

#[test]
fn clocks_that_drift_change_nothing() {
    for drift in [-2e-4, 2e-4] {
        let mut world = World::new(7, GOOD);
        world.drift = drift;
        let seconds = world.run(300);
        assert_eq!(least(seconds), 2_300e3, "{drift}");
    }
}

#[test]
fn others_on_the_link_get_their_part_and_leave_it_again() {
    with_seeds(|seed| {
        let mut world = World::new(seed, Path { rate: 3e6, ..GOOD });
        world.run(10);
        world.path.others = 1.8e6;
        let shared = world.run(20);
        assert!(worst(&shared[5..]) < 350, "{}", table(shared));
        assert!(mean(&shared[5..]) > 0.75 * 1.2e6, "{}", table(shared));
        world.path.others = 0.0;
        let alone = world.run(20);
        assert!(alone[19].target > 0.9 * 2.3e6, "{}", table(alone));
    });
}

#[test]
fn a_quiet_picture_does_not_lower_the_estimate_nor_raise_it_beyond_what_was_tried() {
    let mut world = World::new(3, Path { rate: 1.2e6, ..GOOD });
    world.run(10);
    world.busy = 150e3;
    world.path.rate = GOOD.rate;
    let seconds = world.run(20);
    assert!(least(seconds) > 0.7 * 1.2e6, "{}", table(seconds));
    assert!(seconds[19].target < 1.6e6, "{}", table(seconds));
}

#[test]
fn a_path_that_breaks_is_not_flooded_and_goes_on_where_it_was() {
    let mut world = World::new(5, GOOD);
    world.run(5);
    world.path.loss = 1.0;
    let dead = world.run(10);
    let sent: u64 = dead.iter().map(|second| second.bytes).sum();
    assert_eq!(sent, 0, "nothing arrives");
    let now = world.instant();
    assert!(world.controller.pace(now) <= 2.3e6 / 8.0);
    world.path.loss = 0.0;
    let back = world.run(5);
    assert!(back[2].target > 0.8 * 2.3e6, "{}", table(back));
    assert!(worst(&back[2..]) < 200, "{}", table(back));
}

#[test]
fn a_report_tells_once_which_pictures_packets_are_lost() {
    let start = Instant::now();
    let mut controller = Controller::new(start, Limits { floor: 150, ceiling: 2_300 });
    for number in 0..4_u16 {
        controller.sent(start, 1_000, (number != 2).then_some(700 + number), number == 3);
    }
    let mut report = TransportLayerCc {
        packet_status_count: 4,
        packet_chunks: vec![PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
            symbol_list: vec![SymbolTypeTcc::PacketNotReceived; 7],
            ..Default::default()
        })],
        ..Default::default()
    };
    let later = start + Duration::from_millis(100);
    let lost = [700, 701, 703].map(|number| (number, Picture::Lost));
    assert_eq!(controller.feedback(later, &report), Some(lost.to_vec()));
    assert_eq!(controller.feedback(later, &report), Some(Vec::new()));
    // Two of them have come after all.
    let symbol = SymbolTypeTcc::PacketReceivedSmallDelta;
    report.packet_status_count = 2;
    report.packet_chunks = vec![PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
        symbol_list: vec![symbol; 2],
        ..Default::default()
    })];
    report.recv_deltas = vec![RecvDelta { type_tcc_packet: symbol, delta: 250 }; 2];
    let arrived = [700, 701].map(|number| (number, Picture::Arrived));
    assert_eq!(controller.feedback(later, &report), Some(arrived.to_vec()));
}

#[test]
fn nonsense_is_ignored() {
    let start = Instant::now();
    let mut controller = Controller::new(start, Limits { floor: 150, ceiling: 2_300 });
    for number in 0..100_u64 {
        controller.sent(start + Duration::from_millis(number), 1_000, Some(number as u16), false);
    }
    let vector = |symbol_list| {
        PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
            symbol_list,
            ..Default::default()
        })
    };
    let late = start + Duration::from_secs(1);
    // More packets than can be remembered; arrivals without times; packets never sent; time that
    // goes back.
    let mut report = TransportLayerCc { packet_status_count: 60_000, ..Default::default() };
    assert_eq!(controller.feedback(late, &report), None);
    report.packet_status_count = 7;
    report.packet_chunks = vec![vector(vec![SymbolTypeTcc::PacketReceivedLargeDelta; 7])];
    assert_eq!(controller.feedback(late, &report), Some(Vec::new()));
    report.base_sequence_number = 40_000;
    assert_eq!(controller.feedback(late, &report), Some(Vec::new()));
    report.base_sequence_number = 10;
    report.recv_deltas = (0..7)
        .map(|index| RecvDelta {
            type_tcc_packet: SymbolTypeTcc::PacketReceivedLargeDelta,
            delta: if index % 2 == 0 { 8_000_000 } else { -8_192_000 },
        })
        .collect();
    for reference_time in [0, u32::MAX, 5, 0x80_0000] {
        report.reference_time = reference_time;
        report.base_sequence_number += 7;
        controller.feedback(late, &report);
    }
    assert!((150..=2_300).contains(&controller.status(late).target_kbps));
}
