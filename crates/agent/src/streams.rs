//! Which of the camera's two encodes each viewer gets, and the bit rates of both.
//!
//! One encode serves many, so its bit rate is a compromise:
//!
//! - The main encode follows the slowest of its viewers, between `[video] min-bitrate-kbps` and
//!   `bitrate-kbps`.
//! - No viewer pulls it below half of what the best of the others could take. One who can't follow
//!   moves to the second, smaller encode; so does a lone viewer who can't take the least bit rate.
//!   Without a second encode he stays, and pictures are dropped for him alone.
//! - He comes back on trial when his path has carried the main encode's rate for some seconds, or
//!   for so long nothing showed that it doesn't: more than he gets can't be seen. During the trial
//!   he pulls nobody down; each time it fails, the next one waits twice as long.
//! - The second encode follows the slowest of its viewers in the same way, and runs only while it
//!   has any.
//!
//! Bit rates go down at most four times a second and up once a second, and not for less than 5 %.
//!
//! `Policy` decides and knows no clock; [`Streams`] hands its decisions on.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use peercam_media::{Camera, Stream};
use tokio::sync::watch;
use tracing::{debug, info};

/// A viewer moves to the smaller encode when he could not follow for so long.
const PATIENCE: Duration = Duration::from_millis(1500);
/// He comes back when his path carried the larger one for so long.
const PROOF: Duration = Duration::from_secs(3);
/// Longest such time, after having come back too early several times.
const MAX_PROOF: Duration = Duration::from_secs(96);
/// Who came back and stayed for so long begins anew with [`PROOF`].
const SETTLED: Duration = Duration::from_secs(60);
/// For so long after he came back a viewer is on trial.
const TRIAL: Duration = Duration::from_secs(5);
/// An estimate this much above the second encode's highest bit rate is as much as can be seen with
/// it.
const SEEN: f64 = 1.3;
/// No viewer pulls the main encode below this part of what the best of the others could take.
const SOLIDARITY: f64 = 0.5;
/// Coming back takes so much more than what is needed, and than the main encode's rate.
const MARGIN: f64 = 1.15;
/// Smaller changes of a bit rate are left out.
const STEP: f64 = 0.05;
/// Least time before a change down, and up.
const DOWN: Duration = Duration::from_millis(250);
const UP: Duration = Duration::from_secs(1);

/// A viewer, while he watches.
type Id = u64;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// A viewer gets another encode.
    Move(Id, Stream),
    /// An encode gets another bit rate in kbit/s.
    Set(Stream, u32),
}

#[derive(Debug)]
struct Viewer {
    stream: Stream,
    /// Bit rate of the picture that his path carries, in kbit/s; none before anything is known.
    kbps: Option<u32>,
    /// That grows, and no limit is known.
    open: bool,
    /// Since when he could not follow, or could come back.
    wrong_since: Option<Instant>,
    /// When he came back to the main encode, if he did.
    returned: Option<Instant>,
    /// For how long he has to prove himself before he comes back.
    proof: Duration,
}

/// One encode.
#[derive(Debug)]
struct Encode {
    range: RangeInclusive<u32>,
    kbps: u32,
    changed: Option<Instant>,
}

impl Encode {
    fn new(range: RangeInclusive<u32>) -> Self {
        Self { kbps: *range.end(), range, changed: None }
    }

    /// The bit rate that it gets, if it is to be changed now.
    fn follow(&mut self, now: Instant, wanted: u32) -> Option<u32> {
        let wanted = wanted.clamp(*self.range.start(), *self.range.end());
        let pause = if wanted < self.kbps { DOWN } else { UP };
        let difference = f64::from(wanted.abs_diff(self.kbps));
        let at_the_end = wanted == *self.range.end() || wanted == *self.range.start();
        if difference < f64::from(self.kbps) * STEP && !(at_the_end && wanted != self.kbps)
            || self.changed.is_some_and(|changed| now.duration_since(changed) < pause)
        {
            return None;
        }
        self.kbps = wanted;
        self.changed = Some(now);
        Some(wanted)
    }
}

/// See the module. Time is passed in.
#[derive(Debug)]
struct Policy {
    main: Encode,
    sub: Option<Encode>,
    viewers: BTreeMap<Id, Viewer>,
    next: Id,
}

impl Policy {
    fn new(main: RangeInclusive<u32>, sub: Option<RangeInclusive<u32>>) -> Self {
        let (main, sub) = (Encode::new(main), sub.map(Encode::new));
        Self { main, sub, viewers: BTreeMap::new(), next: 0 }
    }

    /// Somebody comes; he begins with the main encode.
    fn join(&mut self) -> Id {
        let id = self.next;
        self.next += 1;
        let viewer = Viewer {
            stream: Stream::Main,
            kbps: None,
            open: false,
            wrong_since: None,
            returned: None,
            proof: PROOF,
        };
        self.viewers.insert(id, viewer);
        id
    }

    fn leave(&mut self, now: Instant, id: Id) -> Vec<Order> {
        self.viewers.remove(&id);
        if self.viewers.is_empty() {
            // Whoever comes next finds things as at the beginning.
            self.main.changed = None;
        }
        self.decide(now)
    }

    /// A viewer's path carries a picture of `kbps`; `open`: that grows, and no limit is known.
    fn report(&mut self, now: Instant, id: Id, kbps: u32, open: bool) -> Vec<Order> {
        if let Some(viewer) = self.viewers.get_mut(&id) {
            viewer.kbps = Some(kbps);
            viewer.open = open;
        }
        self.decide(now)
    }

    fn decide(&mut self, now: Instant) -> Vec<Order> {
        let mut orders = Vec::new();
        let ids: Vec<Id> = self.viewers.keys().copied().collect();
        for id in ids {
            orders.extend(self.place(now, id));
        }
        let main = self.wanted(now, Stream::Main, *self.main.range.end());
        orders.extend(self.main.follow(now, main).map(|kbps| Order::Set(Stream::Main, kbps)));
        if let Some(most) = self.sub.as_ref().map(|sub| *sub.range.end()) {
            let wanted = self.wanted(now, Stream::Sub, most);
            let changed = self.sub.as_mut().and_then(|sub| sub.follow(now, wanted));
            orders.extend(changed.map(|kbps| Order::Set(Stream::Sub, kbps)));
        }
        orders
    }

    /// What the slowest viewer of an encode takes, as far as he may say.
    fn wanted(&self, now: Instant, stream: Stream, most: u32) -> u32 {
        let mut seated = self.viewers.iter().filter(|(_, viewer)| viewer.stream == stream);
        let alone = seated.clone().count() == 1;
        let on_trial = |viewer: &Viewer| {
            viewer.returned.is_some_and(|returned| now.duration_since(returned) < TRIAL)
        };
        seated
            .by_ref()
            .filter(|(_, viewer)| alone || stream == Stream::Sub || !on_trial(viewer))
            .filter_map(|(id, viewer)| {
                let least = match stream {
                    Stream::Main => self.least(*id),
                    Stream::Sub => 0,
                };
                Some(viewer.kbps?.max(least))
            })
            .min()
            .unwrap_or(most)
    }

    /// What a viewer has to take to have the main encode.
    fn least(&self, id: Id) -> u32 {
        let most = *self.main.range.end();
        let best = self
            .viewers
            .iter()
            .filter(|(other, _)| **other != id)
            .filter_map(|(_, viewer)| viewer.kbps)
            .max()
            .unwrap_or_default();
        let half = (f64::from(best.min(most)) * SOLIDARITY) as u32;
        half.max(*self.main.range.start())
    }

    /// Moves a viewer if it is time to.
    fn place(&mut self, now: Instant, id: Id) -> Option<Order> {
        let seen = f64::from(*self.sub.as_ref()?.range.end()) * SEEN;
        let least = f64::from(self.least(id));
        let alone = !self.viewers.iter().any(|(other, viewer)| {
            *other != id && viewer.stream == Stream::Main && viewer.kbps.is_some()
        });
        let current = f64::from(self.main.kbps);
        let viewer = self.viewers.get_mut(&id)?;
        let kbps = f64::from(viewer.kbps?);
        let (wrong, patience, there) = match viewer.stream {
            Stream::Main => (!viewer.open && kbps < least * (1.0 - STEP), PATIENCE, Stream::Sub),
            Stream::Sub => {
                let needed = if alone { least * MARGIN } else { current.max(least * MARGIN) };
                (viewer.open || kbps >= needed.min(seen), viewer.proof, Stream::Main)
            }
        };
        if !wrong {
            viewer.wrong_since = None;
            return None;
        }
        let since = *viewer.wrong_since.get_or_insert(now);
        if now.duration_since(since) < patience {
            return None;
        }
        match there {
            Stream::Main => viewer.returned = Some(now),
            Stream::Sub => {
                let stayed = viewer.returned.map(|returned| now.duration_since(returned));
                viewer.proof = match stayed {
                    Some(stayed) if stayed < SETTLED => (viewer.proof * 2).min(MAX_PROOF),
                    _ => PROOF,
                };
            }
        }
        viewer.stream = there;
        viewer.wrong_since = None;
        Some(Order::Move(id, there))
    }
}

/// The camera's encodes, shared by all sessions.
#[derive(Clone)]
pub struct Streams {
    inner: Arc<Inner>,
}

struct Inner {
    camera: Arc<Camera>,
    state: Mutex<State>,
}

struct State {
    policy: Policy,
    seats: BTreeMap<Id, watch::Sender<Stream>>,
}

impl Streams {
    /// For one camera.
    pub fn new(camera: Arc<Camera>) -> Self {
        let main = camera.bitrates(Stream::Main).unwrap_or(1..=u32::MAX);
        let policy = Policy::new(main, camera.bitrates(Stream::Sub));
        let state = Mutex::new(State { policy, seats: BTreeMap::new() });
        Self { inner: Arc::new(Inner { camera, state }) }
    }

    /// A viewer's place; dropping it gives it up.
    pub fn seat(&self) -> Seat {
        let (sender, stream) = watch::channel(Stream::Main);
        let mut state = self.inner.lock();
        let id = state.policy.join();
        state.seats.insert(id, sender);
        drop(state);
        Seat { id, stream, inner: self.inner.clone() }
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn obey(&self, state: &State, orders: Vec<Order>) {
        for order in orders {
            match order {
                Order::Set(stream, kbps) => {
                    debug!("{stream:?} encode: {kbps} kbit/s");
                    self.camera.set_bitrate(stream, kbps);
                }
                Order::Move(id, stream) => {
                    info!("a viewer moves to the {stream:?} encode");
                    if let Some(seat) = state.seats.get(&id) {
                        seat.send_replace(stream);
                    }
                }
            }
        }
    }
}

/// One viewer's place at the camera's encodes.
pub struct Seat {
    id: Id,
    stream: watch::Receiver<Stream>,
    inner: Arc<Inner>,
}

impl Seat {
    /// The viewer's path carries a picture of `kbps` kbit/s; `open`: that grows, and no limit is
    /// known. To be told several times a second: nothing else makes time pass here.
    pub fn report(&self, kbps: u32, open: bool) {
        let mut state = self.inner.lock();
        let orders = state.policy.report(Instant::now(), self.id, kbps, open);
        self.inner.obey(&state, orders);
    }

    /// Which encode the viewer is to get, now and on every change.
    pub fn stream(&self) -> watch::Receiver<Stream> {
        self.stream.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.seats.remove(&self.id);
        let orders = state.policy.leave(Instant::now(), self.id);
        self.inner.obey(&state, orders);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time, and what has been ordered.
    struct World {
        policy: Policy,
        now: Instant,
        moves: Vec<(Id, Stream)>,
        changes: usize,
    }

    impl World {
        fn new(viewers: usize) -> (Self, Vec<Id>) {
            let now = Instant::now();
            let mut policy = Policy::new(500..=2000, Some(150..=500));
            let ids = (0..viewers).map(|_| policy.join()).collect();
            (Self { policy, now, moves: Vec::new(), changes: 0 }, ids)
        }

        /// All report so for a time, ten times a second.
        fn run(&mut self, seconds: u64, reports: &[(Id, u32)]) {
            for _ in 0..seconds * 10 {
                self.now += Duration::from_millis(100);
                for (id, kbps) in reports {
                    let orders = self.policy.report(self.now, *id, *kbps, false);
                    self.note(orders);
                }
            }
        }

        fn note(&mut self, orders: Vec<Order>) {
            for order in orders {
                match order {
                    Order::Move(id, stream) => self.moves.push((id, stream)),
                    Order::Set(..) => self.changes += 1,
                }
            }
        }

        fn main(&self) -> u32 {
            self.policy.main.kbps
        }

        fn sub(&self) -> u32 {
            self.policy.sub.as_ref().unwrap().kbps
        }
    }

    #[test]
    fn with_good_paths_nothing_changes() {
        let (mut world, ids) = World::new(2);
        world.run(60, &[(ids[0], 2400), (ids[1], 2300)]);
        assert_eq!((world.changes, world.moves.len(), world.main()), (0, 0, 2000));
    }

    #[test]
    fn a_lone_viewer_is_followed_down_to_the_least_then_gets_the_sub_encode_and_returns() {
        let (mut world, ids) = World::new(1);
        world.run(2, &[(ids[0], 1100)]);
        assert_eq!(world.main(), 1100);
        world.run(2, &[(ids[0], 480)]);
        assert_eq!(
            (world.main(), &world.moves[..]),
            (500, &[][..]),
            "a little below is near enough"
        );
        world.run(1, &[(ids[0], 300)]);
        assert_eq!(world.moves, [], "for a moment that may be so");
        world.run(2, &[(ids[0], 300)]);
        assert_eq!(world.moves, [(ids[0], Stream::Sub)]);
        assert_eq!((world.sub(), world.main()), (300, 2000));
        world.run(2, &[(ids[0], 700)]);
        assert_eq!(world.moves.len(), 1, "not yet");
        world.run(2, &[(ids[0], 700)]);
        assert_eq!(world.moves[1..], [(ids[0], Stream::Main)]);
        world.run(2, &[(ids[0], 700)]);
        assert_eq!(world.main(), 700);
        world.run(2, &[(ids[0], 5000)]);
        assert_eq!(world.main(), 2000);
    }

    #[test]
    fn main_follows_the_slowest_down_to_half_of_what_the_best_of_the_others_takes() {
        let (mut world, ids) = World::new(3);
        world.run(2, &[(ids[0], 2400), (ids[1], 1500), (ids[2], 1100)]);
        assert_eq!((world.main(), world.moves.len()), (1100, 0));
        world.run(3, &[(ids[0], 2400), (ids[1], 1500), (ids[2], 800)]);
        assert_eq!(world.moves, [(ids[2], Stream::Sub)]);
        assert_eq!((world.main(), world.sub()), (1500, 500));
        // As much as he gets: nobody knows whether his path carries more.
        world.run(30, &[(ids[0], 2400), (ids[1], 1500), (ids[2], 520)]);
        assert_eq!(world.moves.len(), 1);
        world.run(4, &[(ids[0], 2400), (ids[1], 1500), (ids[2], 1600)]);
        assert_eq!(world.moves[1..], [(ids[2], Stream::Main)]);
        assert_eq!(world.main(), 1500);
    }

    #[test]
    fn a_quiet_picture_does_not_keep_anybody_from_coming_back() {
        let (mut world, ids) = World::new(1);
        world.run(3, &[(ids[0], 200)]);
        assert_eq!(world.moves, [(ids[0], Stream::Sub)]);
        for _ in 0..50 {
            world.now += Duration::from_millis(100);
            let orders = world.policy.report(world.now, ids[0], 150, true);
            world.note(orders);
        }
        assert_eq!(world.moves[1..], [(ids[0], Stream::Main)]);
    }

    #[test]
    fn a_trial_that_fails_costs_the_others_nothing_and_the_next_one_waits_longer() {
        let (mut world, ids) = World::new(2);
        let good = (ids[0], 2400);
        world.run(3, &[good, (ids[1], 700)]);
        assert_eq!(world.moves, [(ids[1], Stream::Sub)]);
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let (moves, begun) = (world.moves.len(), world.now);
            while world.moves.len() == moves {
                world.run(1, &[good, (ids[1], 740)]);
            }
            pauses.push(world.now.duration_since(begun).as_secs());
            world.run(2, &[good, (ids[1], 740)]);
            assert_eq!(world.main(), 2000);
        }
        assert_eq!(world.moves.len(), 11);
        assert!(pauses.windows(2).all(|pair| pair[1] > pair[0]), "{pauses:?}");
    }

    #[test]
    fn who_leaves_no_longer_counts() {
        let (mut world, ids) = World::new(2);
        world.run(2, &[(ids[0], 2400), (ids[1], 1100)]);
        assert_eq!(world.main(), 1100);
        world.now += UP;
        let orders = world.policy.leave(world.now, ids[1]);
        assert_eq!(orders, [Order::Set(Stream::Main, 2000)]);
        world.run(2, &[(ids[0], 900)]);
        let orders = world.policy.leave(world.now, ids[0]);
        assert_eq!(orders, [Order::Set(Stream::Main, 2000)], "for whoever comes next");
    }

    #[test]
    fn who_has_not_said_anything_yet_changes_nothing() {
        let (mut world, ids) = World::new(2);
        world.run(2, &[(ids[0], 600)]);
        assert_eq!((world.main(), world.moves.len()), (600, 0));
    }

    #[test]
    fn without_a_sub_encode_nobody_moves_and_nobody_pulls_the_others_down() {
        let (mut world, ids) = World::new(2);
        world.policy.sub = None;
        world.run(10, &[(ids[0], 2400), (ids[1], 200)]);
        assert_eq!((world.main(), world.moves.len()), (1000, 0));
    }

    #[test]
    fn a_path_that_swings_does_not_make_anybody_flap() {
        let (mut world, ids) = World::new(1);
        for _ in 0..60 {
            world.run(4, &[(ids[0], 350)]);
            world.run(6, &[(ids[0], 900)]);
        }
        // Ten minutes with sixty swings.
        assert!(world.moves.len() <= 10, "{:?}", world.moves);
        let (mut world, ids) = World::new(1);
        for second in 0..300 {
            world.run(1, &[(ids[0], if second % 2 == 0 { 1000 } else { 1040 })]);
        }
        assert!(world.changes <= 2, "{} changes", world.changes);
    }

    #[test]
    fn changes_are_not_more_frequent_than_an_encoder_likes() {
        let (mut world, ids) = World::new(1);
        for step in 0..200_u32 {
            world.now += Duration::from_millis(20);
            let orders = world.policy.report(world.now, ids[0], 2000 - step * 7, false);
            world.note(orders);
        }
        assert!(world.changes <= 17, "{} in 4 s, down", world.changes);
        world.changes = 0;
        for step in 0..200_u32 {
            world.now += Duration::from_millis(20);
            let orders = world.policy.report(world.now, ids[0], 600 + step * 7, false);
            world.note(orders);
        }
        assert!(world.changes <= 5, "{} in 4 s, up", world.changes);
    }
}
