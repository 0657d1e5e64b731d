//! The administrator's page, on a phone: it asks for the secret, shows cameras and viewers as they
//! come and go, and sends one of them away.

use peercam_protocol::signalling::Transport;
use peercam_testbed::{
    Bed, Browser, HostCamera, Rendezvous,
    camera::Options,
    net,
    stats::State,
    wait::{self, Look},
};

use crate::scene::{SOON, link, room};

const SECRET: &str = "of-the-administrator-of-a-test";

/// As long as a room's name may be, and nowhere to break it: what does not fit shows with it.
const ROOM: &str = "dashboard_with_the_longest_name_that_a_room_of_a_camera_may_have";

/// Types a secret and presses the button, as a person does.
const LOG_IN: &str = "const field = document.getElementById('secret'); field.value = SECRET; \
    field.form.requestSubmit()";

/// By how much the page is wider than the screen, and what sticks out of it.
const TOO_WIDE: &str = "
    const out = [...document.querySelectorAll('body *')].filter(one => one.checkVisibility())
        .filter(one => one.getBoundingClientRect().right > screen.width + 0.5)
        .map(one => `<${one.localName} class=\"${one.className}\"> ${one.innerText ?? ''}`);
    return [`${screen.width}`, `${document.documentElement.scrollWidth - screen.width}`, ...out]";

/// The dashboard in a browser of its own.
struct Dashboard(Browser);

impl Dashboard {
    async fn log_in(&self, secret: &str) {
        let script = LOG_IN.replace("SECRET", &format!("{secret:?}"));
        self.0.evaluate::<()>(&script).await.unwrap();
    }

    async fn shows(&self, words: &[&str]) {
        self.waits(words, |text, word| text.contains(word)).await;
    }

    async fn no_longer_shows(&self, words: &[&str]) {
        self.waits(words, |text, word| !text.contains(word)).await;
    }

    async fn waits(&self, words: &[&str], fits: impl Fn(&str, &str) -> bool) {
        let what = format!("the dashboard to show (or not) {words:?}");
        wait::until(&what, SOON, async || {
            let text = self.0.text().await?;
            let fit = words.iter().all(|word| fits(&text, word));
            Ok(if fit { Look::Done(()) } else { Look::NotYet(text) })
        })
        .await
        .unwrap();
    }

    async fn fits_the_screen(&self) {
        let seen: Vec<String> = self.0.evaluate(TOO_WIDE).await.unwrap();
        assert_eq!(seen, ["390", "0"]);
    }
}

#[tokio::test]
async fn cameras_and_viewers_are_shown_live_and_a_viewer_is_sent_away() {
    let bed = Bed::new("dashboard").unwrap();
    let secret = bed.write("admin.secret", SECRET).unwrap();
    let admin = format!("127.0.0.1:{}", net::free_port().unwrap());
    let config = format!("[admin]\nlisten = {admin:?}\nsecret-file = {secret:?}\n");
    let rendezvous = Rendezvous::start_with(&bed, &config).await.unwrap();
    let dashboard = Dashboard(Browser::start_phone(&bed).await.unwrap());
    dashboard.0.open(&format!("http://{admin}/")).await.unwrap();

    // Nothing is shown before the right secret is there.
    dashboard.shows(&["Secret", "admin.secret-file"]).await;
    dashboard.fits_the_screen().await;
    dashboard.log_in("not-the-secret-at-all").await;
    dashboard.shows(&["That is not the secret."]).await;
    dashboard.no_longer_shows(&["Rooms"]).await;
    dashboard.log_in(SECRET).await;
    dashboard.shows(&["Nobody is here.", "version"]).await;
    dashboard.no_longer_shows(&["That is not the secret."]).await;

    // From here on nobody touches it: what it shows, it has learned by itself.
    let camera = HostCamera::host(&bed, &rendezvous, Options::small(room(ROOM))).await.unwrap();
    dashboard.shows(&[ROOM, "0 of 0 watching", "camera-online"]).await;
    let viewer = Browser::start(&bed).await.unwrap();
    let page = link(&rendezvous, camera.room(), Transport::Rtp);
    viewer.open(&page).await.unwrap();
    viewer.wait_playing(SOON).await.unwrap();
    dashboard.shows(&["1 of 1 watching", "viewer-joined", "session-started"]).await;
    dashboard.fits_the_screen().await;

    // A second one comes, and is sent away by the button in his row.
    let other = Browser::start(&bed).await.unwrap();
    other.open(&page).await.unwrap();
    other.wait_playing(SOON).await.unwrap();
    dashboard.shows(&["2 of 2 watching"]).await;
    let kick = "const [, second] = [...document.querySelectorAll('#rooms button')] \
        .filter(one => one.textContent === 'Kick'); setTimeout(() => second.click())";
    dashboard.0.evaluate::<()>(kick).await.unwrap();
    wait::until("the question whether it is meant", SOON, async || {
        Ok(match dashboard.0.client().get_alert_text().await {
            Ok(question) if question.contains(ROOM) => Look::Done(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await
    .unwrap();
    dashboard.0.client().accept_alert().await.unwrap();
    dashboard.shows(&["1 of 1 watching", "viewer-left", "session-ended"]).await;
    let sent_away = other.wait_state(State::Refused, SOON).await.unwrap();
    let words = sent_away.message.unwrap_or_default();
    assert!(words.contains("administrator"), "{words}");
    viewer.wait_playing(SOON).await.unwrap();

    // The secret is forgotten when that is asked for, and with it what was shown.
    dashboard.0.evaluate::<()>("document.getElementById('leave').click()").await.unwrap();
    dashboard.shows(&["Secret"]).await;
    dashboard.no_longer_shows(&[ROOM, "viewer-left"]).await;
    dashboard.0.reload().await.unwrap();
    dashboard.shows(&["Secret"]).await;
    dashboard.fits_the_screen().await;
}
