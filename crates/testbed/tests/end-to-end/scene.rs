//! What most tests begin with: a rendezvous, a camera in its room, a browser.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use peercam_protocol::{
    Action, Claims, RoomId, SecretKey, ShareLink, link::Grant, signalling::Transport,
    token::Confirmation,
};
use peercam_testbed::{Bed, Browser, HostCamera, Rendezvous, camera::Options};

/// From a click to moving picture and sound on a machine that is busy with other things too.
pub const SOON: Duration = Duration::from_secs(40);

/// The board that guests boot.
pub const BOARD: &str = "qemu-aarch64";

/// A rendezvous with a camera of this machine in its room, and a browser that is still empty.
pub struct Scene {
    // Dropped in this order.
    pub browser: Browser,
    pub camera: HostCamera,
    pub rendezvous: Rendezvous,
    _bed: Bed,
}

impl Scene {
    /// `change` makes the camera what the test needs.
    pub async fn with_camera(name: &str, change: impl FnOnce(&mut Options)) -> Self {
        let bed = Bed::new(name).unwrap();
        let rendezvous = Rendezvous::start(&bed).await.unwrap();
        let mut options = Options::small(room(name));
        change(&mut options);
        let camera = HostCamera::host(&bed, &rendezvous, options).await.unwrap();
        let browser = Browser::start(&bed).await.unwrap();
        Self { browser, camera, rendezvous, _bed: bed }
    }

    pub async fn new(name: &str) -> Self {
        Self::with_camera(name, |_| {}).await
    }

    /// Opens the camera's page.
    pub async fn watch(&self, transport: Transport) {
        let link = link(&self.rendezvous, self.camera.room(), transport);
        self.browser.open(&link).await.unwrap();
    }

    /// A share link to the camera, good for so long: see [`share`].
    pub fn share(&self, good_for: Duration) -> ShareLink {
        share(&self.rendezvous, &self.camera, good_for)
    }
}

/// A share link as the camera's owner makes it, for watching; made an hour ago, good for so long
/// from now on.
pub fn share(rendezvous: &Rendezvous, camera: &HostCamera, good_for: Duration) -> ShareLink {
    let grant = grant(camera, good_for, Some(SecretKey::from_bytes(&[7; 32])));
    let key = camera.key().unwrap().public();
    rendezvous.link(camera.room()).unwrap().to_camera(key).with_grant(grant)
}

/// What lets a viewer with this key watch, or anybody who has it.
pub fn grant(camera: &HostCamera, good_for: Duration, viewer: Option<SecretKey>) -> Grant {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    // Clocks may differ by a minute: what is good no more was so for longer.
    let exp = if good_for.is_zero() { now - 600 } else { now + good_for.as_secs() };
    let claims = Claims {
        iss: None,
        room: Some(camera.room().clone()),
        scope: BTreeSet::from([Action::Watch]),
        iat: now - 3600,
        nbf: None,
        exp,
        jti: "of-a-test".to_owned(),
        once: false,
        cnf: viewer.as_ref().map(|key| Confirmation::new(key.public())),
    };
    Grant { token: claims.sign(&camera.key().unwrap()), key: viewer }
}

pub fn room(name: &str) -> RoomId {
    name.parse().unwrap()
}

/// The share link, with the transport asked for.
pub fn link(rendezvous: &Rendezvous, room: &RoomId, transport: Transport) -> String {
    format!("{}?transport={transport}", rendezvous.link(room).unwrap())
}
