//! The testbed's own cable: what it does to real packets between two namespaces.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use peercam_testbed::network::{Hop, Impairment, Namespace, Way};

/// Long enough for a packet on a machine that is busy with other things too.
const PATIENCE: Duration = Duration::from_secs(2);

struct Cable {
    left: UdpSocket,
    right: UdpSocket,
    hop: Hop,
}

impl Cable {
    fn new() -> Self {
        let ends = [("left", "198.51.100.1"), ("right", "198.51.100.2")];
        let namespaces = ends.map(|(name, _)| Namespace::new(name).unwrap());
        let [a, b] = &namespaces;
        let hop = Hop::join((a, "eth0"), (b, "eth0"), 1).unwrap();
        let [left, right] = [0, 1].map(|end| {
            let address = ends[end].1;
            namespaces[end].ip(&[format!("addr add {address}/24 dev eth0")]).unwrap();
            let socket = namespaces[end].run(move || UdpSocket::bind((address, 9))).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        });
        left.connect("198.51.100.2:9").unwrap();
        right.connect("198.51.100.1:9").unwrap();
        let cable = Self { left, right, hop };
        // The first packet waits for the neighbour's hardware address.
        cable.round_trip();
        cable
    }

    fn round_trip(&self) -> Duration {
        let start = Instant::now();
        self.left.send(b"there").unwrap();
        let mut buffer = [0; 2000];
        self.right.recv(&mut buffer).unwrap();
        self.right.send(b"and back").unwrap();
        self.left.recv(&mut buffer).unwrap();
        start.elapsed()
    }

    /// How many of `count` datagrams of `size` bytes, one every `gap`, arrive on the right.
    fn arrive(&self, count: usize, size: usize, gap: Duration) -> usize {
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let mut buffer = [0; 2000];
                std::iter::from_fn(|| self.right.recv(&mut buffer).ok()).count()
            });
            for _ in 0..count {
                self.left.send(&vec![0; size]).unwrap();
                std::thread::sleep(gap);
            }
            receiver.join().unwrap()
        })
    }
}

#[test]
fn delay_is_kept_each_way_and_can_be_changed() {
    let cable = Cable::new();
    let fastest = |cable: &Cable| (0..10).map(|_| cable.round_trip()).min().unwrap();
    assert!(fastest(&cable) < Duration::from_millis(10), "{:?}", fastest(&cable));
    cable.hop.set_both(Impairment::delayed(Duration::from_millis(30)));
    let there_and_back = fastest(&cable);
    let expected = Duration::from_millis(60)..Duration::from_millis(70);
    assert!(expected.contains(&there_and_back), "{there_and_back:?}");
    cable.hop.set(Way::In, Impairment::NONE);
    let there_and_back = fastest(&cable);
    let expected = Duration::from_millis(30)..Duration::from_millis(40);
    assert!(expected.contains(&there_and_back), "{there_and_back:?}");
}

#[test]
fn loss_is_the_share_asked_for_and_in_one_direction_if_so_asked() {
    let cable = Cable::new();
    cable.hop.set(Way::Out, Impairment::lossy(0.1));
    let arrived = cable.arrive(2000, 100, Duration::from_micros(200));
    assert!((1700..1900).contains(&arrived), "{arrived} of 2000");
    let counts = cable.hop.counts(Way::Out);
    assert!((100..300).contains(&counts.lost), "{counts:?}");
    assert_eq!(cable.hop.counts(Way::In).lost, 0);
}

#[test]
fn a_narrow_line_carries_its_rate() {
    let cable = Cable::new();
    cable.hop.set(Way::Out, Impairment::narrow(1_000_000));
    // 300 KB in about 0.6 s, 4 Mbit/s: a quarter fits, and 300 ms of queue.
    let arrived = cable.arrive(300, 1000, Duration::from_millis(2));
    let (least, most) = (95, 160);
    assert!((least..most).contains(&arrived), "{arrived} of 300");
    assert!(cable.hop.counts(Way::Out).dropped > 100);
}

#[test]
fn nothing_passes_a_cut_line_until_it_is_mended() {
    let cable = Cable::new();
    cable.hop.set_both(Impairment::cut());
    assert_eq!(cable.arrive(10, 100, Duration::ZERO), 0);
    cable.hop.set_both(Impairment::NONE);
    assert!(cable.round_trip() < PATIENCE);
}

#[test]
fn a_namespace_is_gone_when_nobody_holds_it() {
    let namespace = Namespace::new("short-lived").unwrap();
    let path = namespace.path();
    assert!(path.exists());
    let id = std::fs::read_link(&path).unwrap();
    assert_ne!(id, std::fs::read_link("/proc/self/ns/net").unwrap());
    drop(namespace);
    assert!(std::fs::read_link(&path).ok().is_none_or(|other| other != id));
}
