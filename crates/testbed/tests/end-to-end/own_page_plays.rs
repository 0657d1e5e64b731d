//! Who does not want to believe the server's page has one of his own, as docs/verifying.md shows
//! it: the player comes from there, and checks the camera all the same.

use std::{fs, time::Duration};

use peercam_protocol::signalling::Door;
use peercam_testbed::{programs, stats::State};

use crate::{
    scene::{SOON, Scene},
    site::{JAVASCRIPT, Site},
};

/// The page in the document, with the parts of this link in their places.
fn page(link: &str) -> String {
    let text = fs::read_to_string(programs::repository().join("docs/verifying.md")).unwrap();
    let (_, rest) = text.split_once("```html\n").expect("a page in the document");
    let (page, _) = rest.split_once("```").unwrap();
    let (server, rest) = link.split_once("/r/").unwrap();
    let (room, fragment) = rest.split_once('#').unwrap();
    let part = |name: &str| {
        let mut parts = fragment.split('&').filter_map(|part| part.split_once('='));
        parts.find(|(key, _)| *key == name).expect(name).1
    };
    let mut page = page.to_owned();
    for (place, value) in [
        ("https://cam.example.org", server),
        ("front-door", room),
        ("what stands behind k=", part("k")),
        ("what stands behind t=", part("t")),
        ("what stands behind p=", part("p")),
    ] {
        assert!(page.contains(place), "{place:?} is not in the page of docs/verifying.md");
        page = page.replace(place, value);
    }
    page
}

async fn site(page: &str) -> Site {
    let player = programs::repository().join("crates/rendezvous/player/player.js");
    let player = fs::read_to_string(player).unwrap();
    Site::start(page, [("/player.js", JAVASCRIPT, player)]).await
}

#[tokio::test]
async fn a_page_of_ones_own_plays_and_verifies() {
    let scene = Scene::with_camera("own-page", |options| options.door = Door::Token).await;
    let page = page(&scene.share(Duration::from_secs(600)).to_string());
    let site = site(&page).await;
    scene.browser.open(&format!("http://{}/", site.address)).await.unwrap();
    assert!(scene.browser.wait_playing(SOON).await.unwrap().verified);

    // Another camera's key in the page: this one lets nobody in who means that one.
    let key = scene.camera.key().unwrap().public().to_string();
    let other = peercam_protocol::SecretKey::from_bytes(&[9; 32]).public().to_string();
    let wrong = self::site(&page.replace(&key, &other)).await;
    scene.browser.open(&format!("http://{}/", wrong.address)).await.unwrap();
    let refused = scene.browser.wait_state(State::Refused, SOON).await.unwrap();
    assert_eq!(refused.frames_decoded, 0.0);
}
