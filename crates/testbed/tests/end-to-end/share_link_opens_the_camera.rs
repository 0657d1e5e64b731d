//! A share link is what opens a camera: with it the picture plays and the lock says whose it is,
//! without it, or on a page that can't check, the player says what is the matter.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use peercam_protocol::signalling::Door;
use peercam_testbed::{Bed, Browser, HostCamera, Rendezvous, camera::Options, net, stats::State};

use crate::scene::{SOON, Scene, room};

/// Opens the lock under the picture and says what is in it, and how the button looks and sounds.
const OPEN_LOCK: &str = "const { shadowRoot } = document.querySelector('peercam-player'); \
    const lock = shadowRoot.querySelector('.lock'); lock.click(); \
    return [lock.className, lock.getAttribute('aria-label'), lock.getAttribute('aria-expanded'), \
    shadowRoot.querySelector('.trust').innerText].join(' | ')";

#[tokio::test]
async fn the_link_plays_and_the_lock_says_whose_picture_it_is() {
    let scene = Scene::with_camera("shared", |options| options.door = Door::Token).await;
    let link = scene.share(Duration::from_secs(600));
    let address = link.to_string();
    scene.browser.open(&address).await.unwrap();
    assert!(scene.browser.wait_playing(SOON).await.unwrap().verified);

    let lock: String = scene.browser.evaluate(OPEN_LOCK).await.unwrap();
    let key = link.camera().unwrap().to_string();
    for part in ["lock verified", "Verified", "true", &key, "shared", "Link is good until"] {
        assert!(lock.contains(part), "{part:?} is missing: {lock}");
    }
    // Whoever looks at the address bar can load the page again.
    scene.browser.reload().await.unwrap();
    assert!(scene.browser.wait_playing(SOON).await.unwrap().verified);
    let shown: String = scene.browser.evaluate("return location.href").await.unwrap();
    assert_eq!(shown, address);
}

#[tokio::test]
async fn a_link_that_does_not_open_the_camera_says_why() {
    let scene = Scene::with_camera("closed", |options| options.door = Door::Token).await;
    let good = scene.share(Duration::from_secs(600)).to_string();
    let old = scene.share(Duration::ZERO).to_string();
    let (page, fragment) = good.split_once('#').unwrap();
    let cut = &fragment[..fragment.len() - 10];
    for (address, words) in [
        (page, "You need a link from the owner"),
        (&format!("{page}#{cut}"), "This link is damaged"),
        (&old, "This link has expired"),
    ] {
        // Another fragment alone would not load the page anew.
        scene.browser.open("about:blank").await.unwrap();
        scene.browser.open(address).await.unwrap();
        let stats = scene.browser.wait_state(State::Refused, SOON).await.unwrap();
        assert_eq!(stats.frames_decoded, 0.0);
        let text = scene.browser.text().await.unwrap();
        assert!(text.contains(words), "{words:?} is missing: {text}");
    }
    // The right link pasted over a wrong one is enough.
    let paste = format!("location.hash = {fragment:?}");
    scene.browser.evaluate::<()>(&paste).await.unwrap();
    assert!(scene.browser.wait_playing(SOON).await.unwrap().verified);
}

#[tokio::test]
async fn a_page_over_plain_http_says_that_it_can_not_verify() {
    let bed = Bed::new("plain-http").unwrap();
    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, net::free_port().unwrap()));
    let rendezvous = Rendezvous::listen(&bed, anywhere).await.unwrap();
    let host = |name, door| {
        let options = Options { door, ..Options::small(room(name)) };
        HostCamera::host(&bed, &rendezvous, options)
    };
    let open = host("plain-open", Door::Open).await.unwrap();
    let closed = host("plain-closed", Door::Token).await.unwrap();
    let browser = Browser::start(&bed).await.unwrap();
    assert!(!net::host_address().is_loopback(), "this host needs an address besides loopback");

    let link = rendezvous.link(open.room()).unwrap().to_camera(open.key().unwrap().public());
    browser.open(&link.to_string()).await.unwrap();
    let playing = browser.wait_playing(SOON).await.unwrap();
    assert!(!playing.verified);
    assert!(playing.message.unwrap().contains("Can’t verify the camera"));
    let lock: String = browser.evaluate(OPEN_LOCK).await.unwrap();
    for part in ["lock blind", "Can’t verify the camera", "https", "[tls]", "rendezvous.toml"] {
        assert!(lock.contains(part), "{part:?} is missing: {lock}");
    }

    let link = crate::scene::share(&rendezvous, &closed, Duration::from_secs(600));
    browser.open(&link.to_string()).await.unwrap();
    let refused = browser.wait_state(State::Refused, SOON).await.unwrap();
    assert_eq!(refused.frames_decoded, 0.0);
    let text = browser.text().await.unwrap();
    for part in ["Your link can’t be used on this page", "https", "[tls]"] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
}
