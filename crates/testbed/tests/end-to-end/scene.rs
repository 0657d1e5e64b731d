//! What most tests begin with: a rendezvous, a camera in its room, a browser.

use std::time::Duration;

use peercam_protocol::{RoomId, signalling::Transport};
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
}

pub fn room(name: &str) -> RoomId {
    name.parse().unwrap()
}

/// The share link, with the transport asked for.
pub fn link(rendezvous: &Rendezvous, room: &RoomId, transport: Transport) -> String {
    format!("{}?transport={transport}", rendezvous.link(room).unwrap())
}
