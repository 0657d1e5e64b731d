//! A viewer without a browser: it takes the whole stream, counts it and throws it away, so that
//! twenty of them fit beside the camera on a small machine.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use peercam_protocol::{
    RoomId, control,
    signalling::{Candidate, FromViewer, ToViewer, Transport},
    wire,
};
use peercam_testbed::net;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    media_stream::track_remote::{TrackRemote, TrackRemoteEvent},
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
        RTCIceCandidateInit, RTCPeerConnectionIceEvent, RTCSessionDescription, Registry,
        register_default_interceptors,
    },
    rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How many candidates of ours may wait to be sent; there is one for each network interface.
const CANDIDATES: usize = 64;

/// One viewer; it leaves when dropped.
pub struct Receiver {
    connection: Arc<dyn PeerConnection>,
    bytes: Arc<AtomicU64>,
    signalling: JoinHandle<()>,
}

impl Receiver {
    /// Asks to watch the room on the server at `url` (`ws://host:port`). Media comes a moment
    /// later: see [`Receiver::bytes`].
    pub async fn join(url: &str, room: &RoomId, transport: Transport) -> Result<Self> {
        let mut socket = knock(url, room).await?;
        let bytes = Arc::new(AtomicU64::new(0));
        let (candidates, ours) = mpsc::channel(CANDIDATES);
        let handler = Handler { candidates, bytes: bytes.clone() };
        let connection = connect(handler).await.context("making a peer connection")?;
        ask_for(connection.as_ref(), transport, &bytes).await?;

        let offer = connection.create_offer(None).await?;
        connection.set_local_description(offer.clone()).await?;
        say(
            &mut socket,
            &FromViewer::Join { transport, offer: offer.sdp, resume: None, pass: None },
        )
        .await?;
        let signalling = tokio::spawn({
            let connection = connection.clone();
            async move {
                if let Err(error) = signal(socket, connection.as_ref(), ours).await {
                    eprintln!("a receiver of ours lost its signalling: {error:#}");
                }
            }
        });
        Ok(Self { connection, bytes, signalling })
    }

    /// Bytes of media received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Leaves: the server tells the camera when the socket closes.
    pub async fn leave(self) -> Result<()> {
        self.signalling.abort();
        self.connection.close().await.context("closing a peer connection")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.signalling.abort();
    }
}

/// Opens the socket and reads the welcome.
async fn knock(url: &str, room: &RoomId) -> Result<Socket> {
    let address = format!("{url}/watch/{room}");
    let mut request = address.as_str().into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", wire::SUBPROTOCOL.parse()?);
    let (mut socket, _) = connect_async(request).await.with_context(|| address.clone())?;
    match hear(&mut socket).await? {
        Some(ToViewer::Welcome { online: true, .. }) => Ok(socket),
        other => bail!("{address} welcomed us with {other:?}: a camera should wait there"),
    }
}

async fn connect(handler: Handler) -> Result<Arc<dyn PeerConnection>> {
    let mut media = MediaEngine::default();
    media.register_default_codecs()?;
    let registry = register_default_interceptors(Registry::new(), &mut media)?;
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(handler))
        .with_udp_addrs(vec![SocketAddr::new(net::host_address(), 0)])
        .build()
        .await?;
    Ok(Arc::new(connection))
}

/// What makes the offer ask for `transport`, as the player's does.
async fn ask_for(
    connection: &dyn PeerConnection,
    transport: Transport,
    bytes: &Arc<AtomicU64>,
) -> Result<()> {
    let control = connection.create_data_channel(control::CHANNEL, None).await?;
    tokio::spawn(drain(control, None));
    match transport {
        Transport::Rtp => {
            for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
                let init = RTCRtpTransceiverInit {
                    direction: RTCRtpTransceiverDirection::Recvonly,
                    ..Default::default()
                };
                connection.add_transceiver_from_kind(kind, Some(init)).await?;
            }
        }
        Transport::Fmp4 => {
            let media = connection.create_data_channel(control::MEDIA_CHANNEL, None).await?;
            tokio::spawn(drain(media, Some(bytes.clone())));
        }
    }
    Ok(())
}

/// Reads a channel until its connection closes.
async fn drain(channel: Arc<dyn DataChannel>, bytes: Option<Arc<AtomicU64>>) {
    while let Some(event) = channel.poll().await {
        if let (DataChannelEvent::OnMessage(message), Some(bytes)) = (event, &bytes) {
            bytes.fetch_add(message.data.len() as u64, Relaxed);
        }
    }
}

/// Carries answer and candidates for as long as the viewer watches.
async fn signal(
    mut socket: Socket,
    connection: &dyn PeerConnection,
    mut ours: mpsc::Receiver<RTCIceCandidateInit>,
) -> Result<()> {
    loop {
        tokio::select! {
            candidate = ours.recv() => {
                let Some(candidate) = candidate else { return Ok(()) };
                let candidate = Candidate {
                    candidate: candidate.candidate,
                    sdp_mid: candidate.sdp_mid,
                    sdp_m_line_index: candidate.sdp_mline_index,
                    username_fragment: candidate.username_fragment,
                };
                say(&mut socket, &FromViewer::Candidate { candidate }).await?;
            }
            message = hear(&mut socket) => match message? {
                None => return Ok(()),
                Some(ToViewer::Answer { sdp, .. }) => {
                    connection.set_remote_description(RTCSessionDescription::answer(sdp)?).await?;
                }
                Some(ToViewer::Candidate { candidate }) => {
                    let candidate = RTCIceCandidateInit {
                        candidate: candidate.candidate,
                        sdp_mid: candidate.sdp_mid,
                        sdp_mline_index: candidate.sdp_m_line_index,
                        username_fragment: candidate.username_fragment,
                        ..Default::default()
                    };
                    connection.add_ice_candidate(candidate).await?;
                }
                Some(ToViewer::Bye { reason }) => bail!("the camera said goodbye: {reason:?}"),
                Some(ToViewer::Error { error }) => bail!("the camera refused: {error}"),
                Some(ToViewer::Welcome { .. } | ToViewer::Camera { .. } | ToViewer::Restart {}) => {}
            },
        }
    }
}

async fn say(socket: &mut Socket, message: &FromViewer) -> Result<()> {
    socket.send(Message::text(wire::encode(message))).await.context("sending to the rendezvous")
}

/// The next message; none when the server has closed the socket.
async fn hear(socket: &mut Socket) -> Result<Option<ToViewer>> {
    while let Some(frame) = socket.next().await {
        if let Message::Text(text) = frame.context("listening to the rendezvous")? {
            return Ok(Some(wire::decode(&text)?));
        }
    }
    Ok(None)
}

struct Handler {
    candidates: mpsc::Sender<RTCIceCandidateInit>,
    bytes: Arc<AtomicU64>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            // Full only if there were more interfaces than places: the first ones do.
            let _ = self.candidates.try_send(candidate);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let bytes = self.bytes.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    bytes.fetch_add(packet.payload.len() as u64, Relaxed);
                }
            }
        });
    }
}
