//! A WHEP client that is not ours plays the camera, from a page that is not ours either: the
//! package `whip-whep`, by the author of the protocol, as npm has it (`whep-player/package.json`).
//! The camera's door asks for a token, and the player shows one on every request.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peercam_protocol::signalling::Door;
use peercam_testbed::{
    Result,
    browser::READ_CLOCK,
    programs,
    wait::{self, Look},
};
use serde::Deserialize;

use crate::{
    scene::{SOON, Scene, grant},
    site::{JAVASCRIPT, Site},
};

const PAGE: &str = include_str!("whep-player/page.html");

/// What the player says of itself. It has no `stats` of ours: these are the browser's.
const LOOK: &str = "
    const video = document.querySelector('video');
    const all = [...(await player.pc.getStats()).values()];
    const inbound = kind =>
        all.find(entry => entry.type === 'inbound-rtp' && entry.kind === kind) ?? {};
    return {
        state: player.pc.connectionState,
        frames: inbound('video').framesDecoded ?? 0,
        sound: inbound('audio').packetsReceived ?? 0,
        width: video.videoWidth,
        time: video.currentTime,
        user: player.pc.remoteDescription?.sdp.match(/a=ice-ufrag:(.*)/)?.[1] ?? '',
        trouble: player.trouble,
    };";

/// A restart of ICE by the letter of RFC 9725 §4.3.3. The client can do one itself, but takes no
/// more than one candidate out of the answer.
const RESTART: &str = "
    const { pc, client } = player;
    const offer = await pc.createOffer({ iceRestart: true });
    const [user, password] = ['ufrag', 'pwd'].map(
        name => offer.sdp.match(new RegExp(`a=ice-${name}:(.*)\\r`))[1]);
    // So that the client holds the new candidates back, and then sends them as the new ones.
    Object.assign(client, { restartIce: new Date(), iceUsername: user, icePassword: password });
    await pc.setLocalDescription(offer);
    const response = await fetch(client.resourceURL, {
        method: 'PATCH',
        headers: {
            'Authorization': `Bearer ${new URLSearchParams(location.search).get('token')}`,
            'Content-Type': 'application/trickle-ice-sdpfrag',
            'If-Match': '*',
        },
        body: `a=ice-ufrag:${user}\\r\\na=ice-pwd:${password}\\r\\n`,
    });
    const fragment = await response.text();
    const line = name => fragment.match(new RegExp(`a=ice-${name}:.*\\r\\n`))[0];
    const candidates = fragment.match(/a=candidate:.*\\r\\n/g).join('');
    const sdp = pc.remoteDescription.sdp
        .replace(/a=candidate:.*\\r\\n|a=end-of-candidates\\r\\n/g, '')
        .replace(/a=ice-ufrag:.*\\r\\n/g, line('ufrag'))
        .replace(/a=ice-pwd:.*\\r\\n/g, line('pwd'))
        .replace(/a=mid:0\\r\\n/, found => found + candidates);
    await pc.setRemoteDescription({ type: 'answer', sdp });
    Object.assign(client, { restartIce: null, etag: response.headers.get('etag') });
    await client.patch();
    return [response.status, client.etag];";

#[derive(Debug, Deserialize)]
struct Seen {
    state: String,
    frames: u64,
    sound: u64,
    width: u32,
    time: f64,
    user: String,
    trouble: Vec<String>,
}

async fn look(scene: &Scene) -> Result<Seen> {
    scene.browser.evaluate_async(LOOK).await
}

/// Waits until pictures and sound have gone on, and returns what is seen then.
async fn plays_on(scene: &Scene) -> Seen {
    let before = look(scene).await.unwrap();
    let moved = |now: &Seen| {
        now.state == "connected"
            && now.frames >= before.frames + 15
            && now.sound > before.sound
            && now.time > before.time
    };
    wait::until("the standard player to play", SOON, async || {
        let now = look(scene).await?;
        Ok(if moved(&now) { Look::Done(now) } else { Look::NotYet(format!("{now:?}")) })
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_whep_client_of_others_plays_restarts_ice_and_leaves() {
    let scene = Scene::with_camera("whep", |options| {
        (options.door, options.bearer) = (Door::Token, true);
    })
    .await;
    let token = grant(&scene.camera, Duration::from_secs(600), None).token;
    let client = "crates/testbed/tests/end-to-end/whep-player/node_modules/whip-whep/whep.js";
    let client = std::fs::read_to_string(programs::repository().join(client))
        .expect("the WHEP client is installed: run scripts/setup lint");
    let site = Site::start(PAGE, [("/whep.js", JAVASCRIPT, client)]).await;
    let endpoint = format!("http://{}/whep/{}", scene.rendezvous.address(), scene.camera.room());
    let page = format!("http://{}/?whep={endpoint}&token={token}", site.address);
    scene.browser.open(&page).await.unwrap();
    wait::until("the client to be loaded", SOON, async || {
        let loaded: bool = scene.browser.evaluate("return 'player' in globalThis").await?;
        Ok(if loaded { Look::Done(()) } else { Look::NotYet("no player".to_owned()) })
    })
    .await
    .unwrap();
    let first = plays_on(&scene).await;
    assert_eq!(first.width, 640, "{first:?}");
    // It is this camera's picture, and a fresh one: the clock drawn into it says so.
    let read = format!("const video = document.querySelector('video'); {READ_CLOCK}");
    let drawn: f64 = scene.browser.evaluate(&read).await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as f64;
    assert!((now - 10_000.0..=now).contains(&drawn), "the picture says {drawn}, it is {now}");

    let restarted: (u16, String) = scene.browser.evaluate_async(RESTART).await.unwrap();
    assert_eq!(restarted, (200, "\"1\"".to_owned()));
    let second = plays_on(&scene).await;
    assert_ne!(first.user, second.user, "another generation of ICE");
    assert_eq!(scene.camera.output().matches("joined").count(), 1, "the same session");

    // Longer than a session waits for a control channel, which such a client never opens.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let third = plays_on(&scene).await;
    // A PATCH that was refused would be here.
    assert_eq!(third.trouble, Vec::<String>::new());

    scene.browser.evaluate_async::<()>("await player.client.stop()").await.unwrap();
    wait::until("the camera to hear of it", SOON, async || {
        let left = scene.camera.output().contains("the viewer left");
        Ok(if left { Look::Done(()) } else { Look::NotYet("the session goes on".to_owned()) })
    })
    .await
    .unwrap();
}
