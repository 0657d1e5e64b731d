//! A camera and a viewer in their homes, and the servers between them: what the tests of networks
//! and `measure network` begin with.

use std::time::Duration;

use peercam_protocol::signalling::Transport;

use super::{
    place::Place,
    tls::Certificate,
    turn::{self, TurnServer},
    world::{Plan, Turn, World},
};
use crate::{
    Bed, Browser, HostCamera, Rendezvous, Stats, camera::Options, error::Result, rendezvous,
};

/// From a click to moving picture and sound over any path, on a machine that is busy with other
/// things too.
pub const SOON: Duration = Duration::from_secs(40);

/// All that one test of networks needs. What it drops it ends, in the order of the fields.
#[derive(Debug)]
pub struct Scene {
    /// Chromium in the viewer's network, still without a page.
    pub browser: Browser,
    /// The agent in the camera's network.
    pub camera: HostCamera,
    /// The rendezvous server, on the internet.
    pub rendezvous: Rendezvous,
    /// coturn, on the internet.
    pub turn: TurnServer,
    /// The networks.
    pub world: World,
}

impl Scene {
    /// Builds the networks and starts everything in them. `seed` decides what is left to chance.
    pub async fn set(bed: &Bed, plan: Plan, camera: Options, seed: u64) -> Result<Self> {
        let world = World::build(plan, seed)?;
        let address = world.turn_address();
        let certificate = Certificate::make(bed, &[address])?;
        let place = |namespace: &super::Namespace| Place::Inside(namespace.clone());
        let turn = TurnServer::start(bed, place(&world.turn), &[address], &certificate).await?;
        let mut urls = turn.urls();
        urls.retain(|url| match url {
            url if url.starts_with("turns:") => plan.turn >= Turn::Tls,
            url if url.ends_with("transport=tcp") => plan.turn >= Turn::Tcp,
            _ => true,
        });
        let servers = rendezvous::ice_servers(&urls, turn::USER, turn::PASSWORD);
        let rendezvous = Rendezvous::start_in(bed, &world, &servers).await?;
        let camera = Options {
            place: place(&world.camera),
            turn_authority: Some(certificate.authority.clone()),
            ..camera
        };
        let camera = HostCamera::host(bed, &rendezvous, camera).await?;
        let browser =
            Browser::start_in(bed, place(&world.viewer), Some(&certificate.authority)).await?;
        Ok(Self { browser, camera, rendezvous, turn, world })
    }

    /// The address of the camera's page, with the transport asked for.
    pub fn link(&self, transport: Transport) -> Result<String> {
        let link = self.rendezvous.link(self.camera.room())?;
        Ok(format!("{link}?transport={transport}"))
    }

    /// Opens the camera's page.
    pub async fn watch(&self, transport: Transport) -> Result<()> {
        self.browser.open(&self.link(transport)?).await
    }

    /// Opens the camera's page and waits until picture and sound play.
    pub async fn play(&self, transport: Transport) -> Result<Stats> {
        self.watch(transport).await?;
        self.browser.wait_playing(SOON).await
    }
}

/// `$PEERCAM_SEED`, or a new one; it is printed, for the next time.
pub fn seed() -> u64 {
    let given = std::env::var("PEERCAM_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("PEERCAM_SEED={seed}");
    seed
}
