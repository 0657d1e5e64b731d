//! The two kinds of peer a connection can be, as far as a connection has to know: what they
//! say, and how an error is said to them.

use peercam_protocol::{
    signalling::{Error, FromCamera, FromViewer, SessionId, ToCamera, ToViewer},
    wire::encode,
};
use serde::de::DeserializeOwned;

use crate::rooms::{CameraSeat, ViewerSeat};

/// Why a message was not done.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The camera's session it is about, if any.
    pub(crate) session: Option<SessionId>,
    /// What the peer is told.
    pub(crate) error: Error,
    /// Whether the connection ends by it.
    pub(crate) last: bool,
}

impl Refusal {
    /// About no session, and the connection stays.
    pub(crate) fn of(error: Error) -> Self {
        Self { session: None, error, last: false }
    }

    /// The same, and the connection ends.
    pub(crate) fn and_close(self) -> Self {
        Self { last: true, ..self }
    }
}

/// One end of the relay. Dropping it leaves the room.
pub(crate) trait Peer: Send + 'static {
    /// What it says.
    type Message: DeserializeOwned;
    /// Does what a message asks for.
    fn handle(&mut self, message: Self::Message) -> Result<(), Refusal>;
    /// A refusal in its language.
    fn explain(refusal: Refusal) -> String;
}

impl Peer for CameraSeat {
    type Message = FromCamera;

    fn handle(&mut self, message: FromCamera) -> Result<(), Refusal> {
        let metrics = &self.room().telemetry().metrics;
        metrics.messages_from_cameras.one();
        self.room()
            .camera_says(message)
            .inspect_err(|refusal| metrics.count_error(refusal.error.code))
    }

    fn explain(Refusal { session, error, .. }: Refusal) -> String {
        encode(&ToCamera::Error { session, error })
    }
}

impl Peer for ViewerSeat {
    type Message = FromViewer;

    fn handle(&mut self, message: FromViewer) -> Result<(), Refusal> {
        let metrics = &self.room().telemetry().metrics;
        metrics.messages_from_viewers.one();
        self.says(message).inspect_err(|refusal| metrics.count_error(refusal.error.code))
    }

    fn explain(Refusal { error, .. }: Refusal) -> String {
        encode(&ToViewer::Error { error })
    }
}
