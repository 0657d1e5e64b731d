//! One viewer's pictures and sound, from whichever encode he has a seat at.
//!
//! A change takes effect at a key frame of the new encode that is newer than what went before:
//! both are on one clock, so the viewer sees no more than a sharper or softer picture.

use std::{sync::Arc, time::Duration};

use peercam_media::{Camera, Chunk, Frame, Kind, Stream, Subscription, Unit};
use tokio::sync::watch;
use tracing::debug;

use crate::streams::Seat;

/// What comes from an encode.
pub(super) trait Media: Unit {
    fn subscribe(camera: &Camera, stream: Stream) -> Subscription<Self>;
    /// When it is to be shown or heard.
    fn pts(&self) -> Duration;
}

/// What becomes of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Send,
    Drop,
    /// And a key frame is wanted: there is room for it.
    DropAndAsk,
}

impl Media for Frame {
    fn subscribe(camera: &Camera, stream: Stream) -> Subscription<Self> {
        camera.subscribe_frames(stream)
    }

    fn pts(&self) -> Duration {
        match self {
            Self::Video(unit) => unit.pts,
            Self::Audio(packet) => packet.pts,
        }
    }
}

impl Media for Chunk {
    fn subscribe(camera: &Camera, stream: Stream) -> Subscription<Self> {
        camera.subscribe_chunks(stream)
    }

    fn pts(&self) -> Duration {
        self.pts
    }
}

/// See the module.
pub(super) struct Source<T> {
    camera: Arc<Camera>,
    seat: Seat,
    assigned: watch::Receiver<Stream>,
    current: Subscription<T>,
    /// What the viewer gets; told to the `control` channel.
    shown: watch::Sender<Stream>,
    /// What he is to get, until a key frame of it comes.
    coming: Option<(Stream, Subscription<T>)>,
    /// The new encode runs a little behind the old one, whose pictures are left out from now on:
    /// its next key frame is the newer one.
    held: bool,
    /// Pictures were left out: nothing to decode the next ones with.
    broken: bool,
    order: Order,
}

/// Keeps time from going back.
#[derive(Debug, Default)]
struct Order {
    picture: Option<Duration>,
    sound: Option<Duration>,
}

impl Order {
    /// Whether something comes behind all that went before, and goes out.
    fn admits(&mut self, kind: Kind, pts: Duration) -> bool {
        let last = match kind {
            Kind::Key | Kind::Delta => &mut self.picture,
            Kind::Audio => &mut self.sound,
        };
        let ahead = last.is_none_or(|last| pts > last);
        if ahead {
            *last = Some(pts);
        }
        ahead
    }

    /// Whether a new encode may take over with this.
    fn allows_change(&self, kind: Kind, pts: Duration) -> bool {
        kind == Kind::Key && self.picture.is_none_or(|last| pts > last)
    }
}

/// What [`Source::recv`] woke for.
enum Woken<T> {
    Current(Option<T>),
    Coming(Option<T>),
    Assigned,
}

impl<T: Media> Source<T> {
    /// Begins with what the seat is assigned.
    pub fn new(camera: Arc<Camera>, seat: Seat, shown: watch::Sender<Stream>) -> Self {
        let mut assigned = seat.stream();
        let stream = *assigned.borrow_and_update();
        let current = T::subscribe(&camera, stream);
        shown.send_replace(stream);
        Self {
            camera,
            seat,
            assigned,
            current,
            shown,
            coming: None,
            held: false,
            broken: false,
            order: Order::default(),
        }
    }

    /// The viewer's seat.
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Asks the encoder of what the viewer gets for a key frame.
    pub fn request_key_frame(&self) {
        self.camera.request_key_frame(*self.shown.borrow());
    }

    /// Whether a picture goes out; asks for a key frame where that was decided.
    pub fn obey(&self, decision: Decision) -> bool {
        if decision == Decision::DropAndAsk {
            self.request_key_frame();
        }
        decision == Decision::Send
    }

    /// No change is to come.
    fn stay(&mut self) {
        self.coming = None;
        if std::mem::take(&mut self.held) {
            self.request_key_frame();
        }
    }

    /// What comes next; none when the camera has stopped. Cancel safe.
    pub async fn recv(&mut self) -> Option<T> {
        loop {
            let coming = async {
                match &mut self.coming {
                    Some((_, subscription)) => subscription.recv().await,
                    None => std::future::pending().await,
                }
            };
            let woken = tokio::select! {
                item = self.current.recv() => Woken::Current(item),
                item = coming => Woken::Coming(item),
                Ok(()) = self.assigned.changed() => Woken::Assigned,
            };
            match woken {
                Woken::Current(Some(item)) => {
                    let kind = item.kind();
                    if self.held && kind != Kind::Audio {
                        self.broken = true;
                        continue;
                    }
                    match kind {
                        Kind::Key => self.broken = false,
                        Kind::Delta if self.broken => continue,
                        Kind::Delta | Kind::Audio => {}
                    }
                    if self.order.admits(kind, item.pts()) {
                        return Some(item);
                    }
                }
                Woken::Current(None) if *self.shown.borrow() == Stream::Sub => {
                    // The second encode can fail without the first.
                    self.current = T::subscribe(&self.camera, Stream::Main);
                    self.coming = None;
                    self.held = false;
                    self.shown.send_replace(Stream::Main);
                    self.camera.request_key_frame(Stream::Main);
                }
                Woken::Current(None) => return None,
                Woken::Coming(Some(item)) => {
                    if self.order.allows_change(item.kind(), item.pts())
                        && let Some((stream, subscription)) = self.coming.take()
                    {
                        self.current = subscription;
                        (self.held, self.broken) = (false, false);
                        self.shown.send_replace(stream);
                        self.order.admits(item.kind(), item.pts());
                        return Some(item);
                    }
                    if let (Kind::Key, false, Some((stream, _))) =
                        (item.kind(), self.held, &self.coming)
                    {
                        self.held = true;
                        self.camera.request_key_frame(*stream);
                    }
                }
                Woken::Coming(None) => {
                    debug!("there is no such encode");
                    self.stay();
                }
                Woken::Assigned => {
                    let stream = *self.assigned.borrow_and_update();
                    self.stay();
                    if stream != *self.shown.borrow() {
                        self.coming = Some((stream, T::subscribe(&self.camera, stream)));
                        self.camera.request_key_frame(stream);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_over_a_change() {
        let ms = Duration::from_millis;
        let mut order = Order::default();
        assert!(order.admits(Kind::Key, ms(100)) && order.admits(Kind::Audio, ms(90)));
        assert!(order.admits(Kind::Delta, ms(133)));
        assert!(!order.allows_change(Kind::Key, ms(133)), "the same picture");
        assert!(!order.allows_change(Kind::Delta, ms(166)), "nothing to decode it with");
        assert!(!order.allows_change(Kind::Audio, ms(166)));
        assert!(order.allows_change(Kind::Key, ms(166)));
        assert!(order.admits(Kind::Key, ms(166)));
        assert!(!order.admits(Kind::Audio, ms(90)), "heard already");
        assert!(order.admits(Kind::Audio, ms(110)));
    }
}
