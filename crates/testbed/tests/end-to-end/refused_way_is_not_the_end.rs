//! The camera's candidates come one by one, and the first may be refused at once: behind a firewall
//! that resets TCP, a browser then has no way left until the next one comes.

use peercam_testbed::stats::State;

use crate::{
    liar::{Liar, Lie},
    scene::{SOON, Scene},
};

#[tokio::test]
async fn the_ways_that_come_later_are_taken_by_the_same_session() {
    let scene = Scene::new("refused-way").await;
    let liar = Liar::before(scene.rendezvous.address(), Lie::RefusedWay).await;
    let link = scene.rendezvous.link(scene.camera.room()).unwrap();
    scene.browser.open(&liar.link(&link).to_string()).await.unwrap();
    let stats = scene.browser.wait_state(State::Playing, SOON).await.unwrap();
    assert_eq!(stats.reconnects, 0, "{stats:?}");
    assert_eq!(scene.camera.output().matches("joined").count(), 1);
}
