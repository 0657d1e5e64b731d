//! Through every kind of network media finds its way, and the most direct one there is.

use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Bed, Stats,
    camera::Options,
    network::{
        Scene,
        scene::{SOON, seed},
        table::Row,
    },
};

/// Plays over both transports, one after the other, and checks the path.
async fn finds_its_way(name: &str) {
    let row = Row::named(name).unwrap();
    let bed = Bed::new(&format!("path-{name}")).unwrap();
    let camera = Options::small(name.parse().unwrap());
    let scene = Scene::set(&bed, row.plan, camera, seed()).await.unwrap();
    for transport in [Transport::Rtp, Transport::Fmp4] {
        let stats = scene.play(transport).await.unwrap();
        assert_eq!(stats.transport.as_deref(), Some(transport.as_str()));
        // The first way that works is taken at once, a better one when it is found.
        let what = format!("{transport} over {:?}, {:?}", row.path, row.protocol);
        let fit = |stats: &Stats| {
            (stats.path, stats.path_protocol) == (Some(row.path), Some(row.protocol))
        };
        let stats = scene.browser.wait_stats(&what, SOON, fit).await.unwrap();
        eprintln!("{name} {transport}: {stats:?}");
        // And there it stays, with picture and sound.
        let stats = scene.browser.wait_playing(SOON).await.unwrap();
        assert!(fit(&stats), "{stats:?}");
    }
}

#[tokio::test]
async fn on_one_lan_media_goes_from_host_to_host() {
    finds_its_way("lan").await;
}

#[tokio::test]
async fn between_cone_nats_media_goes_directly() {
    finds_its_way("cone").await;
}

#[tokio::test]
async fn between_symmetric_nats_media_goes_over_the_relay() {
    finds_its_way("symmetric").await;
}

#[tokio::test]
async fn where_udp_is_blocked_media_goes_over_the_relay_by_tcp() {
    finds_its_way("udp-blocked").await;
}

#[tokio::test]
async fn where_only_port_443_is_open_media_goes_over_the_relay_by_tls() {
    finds_its_way("tls-only").await;
}

#[tokio::test]
async fn where_there_is_only_ipv6_media_goes_from_host_to_host() {
    finds_its_way("ipv6").await;
}

#[tokio::test]
async fn a_camera_without_udp_reaches_its_relay_by_tcp() {
    finds_its_way("camera-udp-blocked").await;
}

#[tokio::test]
async fn a_camera_that_may_use_port_443_only_reaches_its_relay_by_tls() {
    finds_its_way("camera-tls-only").await;
}
