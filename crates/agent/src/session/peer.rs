//! The library's peer connection, set up as this camera needs it.

use std::{ops::Deref, sync::Arc, time::Duration};

use rtc::{
    ice::mdns::MulticastDnsMode,
    mdns::MulticastSocket,
    peer_connection::{
        configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX},
        transport::{RTCDtlsRole, RTCIceCandidateType},
    },
    rtp_transceiver::rtp_sender::{
        RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability,
        RtpCodecKind,
    },
};
use tokio::{runtime::Handle, sync::mpsc};
use tracing::{debug, warn};
use webrtc::{
    data_channel::DataChannel,
    error::Result,
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
        RTCCertificate, RTCConfigurationBuilder, RTCIceCandidateInit, RTCIceGatheringState,
        RTCIceTransportPolicy, RTCPeerConnectionIceEvent, RTCPeerConnectionState, SettingEngine,
        SettingEngineBuilder, transport::DtlsTransport,
    },
};

use super::{
    interceptors::{self, Wire},
    network::Sockets,
    offer::{Codec, RateFeedback, RtpOffer},
    runtime::LeanRuntime,
    servers::IceServers,
    turn::{RelayEvent, Relays, Turn},
};

/// Silence after which a connection counts as interrupted; and from there to where the library
/// gives up looking for a path, which is no sooner than the session does.
const DISCONNECTED: Duration = Duration::from_secs(5);
const FAILED: Duration = Duration::from_secs(30);
/// How often a quiet connection is kept open.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Time between two rounds of connectivity checks, and rounds for each pair: 5 s in all. The
/// library's 200 ms would be the largest part of the time to the first picture.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
const CHECKS: u16 = 100;

/// The header extension with a packet's transport-wide number.
pub(super) const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// The header extension that says how long pictures may be held back.
pub(super) const PLAYOUT_DELAY_URI: &str =
    "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// Events that wait for the session. A session handles each at once; a viewer can't cause more
/// than a few.
const EVENTS: usize = 64;

/// What the session hears from its connection.
pub(super) enum PeerEvent {
    /// One of our candidates.
    Candidate(RTCIceCandidateInit),
    /// There will be no more of them.
    CandidatesComplete,
    /// ICE and DTLS together.
    State(RTCPeerConnectionState),
    /// The viewer opened a data channel.
    Channel(Arc<dyn DataChannel>),
    /// Something about our relays.
    Relay(RelayEvent),
}

/// What a connection is made of.
pub(super) struct Setup<'a> {
    /// Our side of DTLS.
    pub certificate: RTCCertificate,
    /// Where to listen.
    pub sockets: Sockets,
    /// Whether on TCP too.
    pub tcp: bool,
    /// Whom to ask for reflexive and relayed candidates.
    pub ice_servers: IceServers,
    /// What all sessions share about TURN.
    pub turn: Arc<Turn>,
    /// Whether relayed candidates are the only ones.
    pub relay_only: bool,
    /// What the viewer wants by RTP.
    pub rtp: Option<&'a RtpOffer>,
    /// Who paces what goes there.
    pub wire: Arc<Wire>,
}

/// A peer connection that is closed in any case: the library's goes on by itself when it is only
/// dropped, as it would be if a session broke down.
pub(super) struct Connection {
    inner: Arc<dyn PeerConnection>,
    /// Whether it has a socket for multicast DNS.
    multicast: bool,
    relays: Arc<Relays>,
    closed: bool,
}

impl Connection {
    /// Whether the sockets can be bound anew for a restart of ICE: the library takes one that
    /// can't, even the one for multicast DNS, for the end of the connection.
    pub fn can_rebind(&self) -> bool {
        !self.multicast || has_multicast()
    }

    /// Whether media travels over a relay of ours.
    pub async fn is_relayed(&self) -> bool {
        let Some(transport) = self.transport().await else { return false };
        let path = transport.ice_transport().get_selected_candidate_pair().await;
        path.is_ok_and(|path| {
            path.is_some_and(|pair| pair.local().typ == RTCIceCandidateType::Relay)
        })
    }

    /// The one transport of everything (BUNDLE): that of the data channels or, for a viewer without
    /// any, that of the picture.
    async fn transport(&self) -> Option<Arc<dyn DtlsTransport>> {
        if let Some(sctp) = self.inner.sctp().await {
            return Some(sctp.transport());
        }
        for sender in self.inner.get_senders().await {
            if let Ok(Some(transport)) = sender.transport().await {
                return Some(transport);
            }
        }
        None
    }

    /// The next restart of ICE gathers its candidates with `ice_servers`.
    ///
    /// # Errors
    ///
    /// Once the connection is closed.
    pub async fn renew_servers(&self, ice_servers: IceServers) -> anyhow::Result<()> {
        let policy = self.inner.get_configuration().await.ice_transport_policy();
        let configuration = RTCConfigurationBuilder::new()
            .with_ice_servers(self.relays.renew(ice_servers)?)
            .with_ice_transport_policy(policy)
            .build();
        Ok(self.inner.set_configuration(configuration).await?)
    }

    /// Tells the viewer and waits until the sockets are closed.
    pub async fn close(mut self) {
        self.closed = true;
        close(self.inner.clone(), self.relays.clone()).await;
    }
}

impl Deref for Connection {
    type Target = dyn PeerConnection;

    fn deref(&self) -> &Self::Target {
        self.inner.as_ref()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.closed, Handle::try_current()) {
            drop(runtime.spawn(close(self.inner.clone(), self.relays.clone())));
        }
    }
}

async fn close(connection: Arc<dyn PeerConnection>, relays: Arc<Relays>) {
    if let Err(error) = connection.close().await {
        debug!("closing: {error}");
    }
    relays.close();
}

/// Makes a connection. Its sockets are bound anew with each restart of ICE.
pub(super) async fn connect(
    setup: Setup<'_>,
) -> anyhow::Result<(Connection, mpsc::Receiver<PeerEvent>)> {
    let Setup { certificate, sockets, tcp, ice_servers, turn, relay_only, rtp, wire } = setup;
    let (events, receiver) = mpsc::channel(EVENTS);
    let multicast = has_multicast();
    let handler = Handler { events };
    let relays = {
        let handler = handler.clone();
        Arc::new(Relays::new(turn, move |event| handler.tell(PeerEvent::Relay(event))))
    };
    let policy = if relay_only { RTCIceTransportPolicy::Relay } else { RTCIceTransportPolicy::All };
    let configuration = RTCConfigurationBuilder::new()
        .with_ice_servers(relays.renew(ice_servers)?)
        .with_ice_transport_policy(policy)
        .with_certificates(vec![certificate])
        .build();
    let connection = PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_media_engine(media_engine(rtp)?)
        .with_setting_engine(settings(multicast))
        .with_interceptor_registry(interceptors::registry(wire))
        .with_handler(Arc::new(handler))
        .with_runtime(Arc::new(LeanRuntime::new(relays.clone())))
        .with_tcp_addrs(if tcp { vec![sockets.clone()] } else { Vec::new() })
        .with_udp_addrs(vec![sockets])
        .build()
        .await?;
    Ok((Connection { inner: Arc::new(connection), multicast, relays, closed: false }, receiver))
}

/// Browsers hide their addresses behind names (RFC 8828, mDNS) and those are resolved by a
/// multicast socket; a network without multicast is no reason to fail.
fn has_multicast() -> bool {
    MulticastSocket::new()
        .into_std()
        .inspect_err(|error| debug!("no multicast DNS: {error}"))
        .is_ok()
}

fn settings(multicast: bool) -> SettingEngine {
    let mdns = if multicast { MulticastDnsMode::QueryOnly } else { MulticastDnsMode::Disabled };
    let at_once = Some(Duration::ZERO);
    SettingEngineBuilder::new()
        .with_multicast_dns_mode(mdns)
        .with_ice_timeouts(Some(DISCONNECTED), Some(FAILED), Some(KEEP_ALIVE))
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS))
        .with_srflx_acceptance_min_wait(at_once)
        .with_prflx_acceptance_min_wait(at_once)
        .with_relay_acceptance_min_wait(at_once)
        // A restart of ICE means that the network is another, or a relay is gone: new sockets and
        // new allocations, as the library would go on offering the old ones.
        .with_discard_local_candidates_during_ice_restart(true)
        // The library sends a client's first DTLS message only with its next timer, while a
        // server's answers go out at once.
        .with_answering_dtls_role(RTCDtlsRole::Server)
        .build()
}

/// Exactly the codecs chosen from the offer, numbered as the viewer numbers them, so that the
/// answer can't say anything else.
fn media_engine(rtp: Option<&RtpOffer>) -> Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    let Some(RtpOffer { video, audio }) = rtp else { return Ok(engine) };
    engine.register_codec(
        RTCRtpCodecParameters {
            rtp_codec: h264(&video.codec),
            payload_type: video.codec.payload_type,
        },
        RtpCodecKind::Video,
    )?;
    number_packets(&mut engine, &video.codec, RtpCodecKind::Video)?;
    let playout_delay = RTCRtpHeaderExtensionCapability { uri: PLAYOUT_DELAY_URI.to_owned() };
    engine.register_header_extension(playout_delay, RtpCodecKind::Video, None)?;
    if let Some(payload_type) = video.retransmission {
        let rtx = RTCRtpCodec {
            mime_type: MIME_TYPE_RTX.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: format!("apt={}", video.codec.payload_type),
            rtcp_feedback: Vec::new(),
        };
        let rtx = RTCRtpCodecParameters { rtp_codec: rtx, payload_type };
        engine.register_codec(rtx, RtpCodecKind::Video)?;
    }
    if let Some(audio) = audio {
        let opus =
            RTCRtpCodecParameters { rtp_codec: opus(audio), payload_type: audio.payload_type };
        engine.register_codec(opus, RtpCodecKind::Audio)?;
        number_packets(&mut engine, audio, RtpCodecKind::Audio)?;
    }
    Ok(engine)
}

/// Has packets numbered transport-wide, where the viewer reports on that.
fn number_packets(engine: &mut MediaEngine, codec: &Codec, kind: RtpCodecKind) -> Result<()> {
    if codec.rate_feedback != Some(RateFeedback::TransportWide) {
        return Ok(());
    }
    let extension = RTCRtpHeaderExtensionCapability { uri: TRANSPORT_CC.to_owned() };
    engine.register_header_extension(extension, kind, None)
}

fn feedback(typ: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() }
}

/// How the viewer will say what his path carries.
fn rate_feedback(codec: &Codec) -> Option<RTCPFeedback> {
    codec.rate_feedback.map(|way| match way {
        RateFeedback::TransportWide => feedback("transport-cc", ""),
        RateFeedback::Estimate => feedback("goog-remb", ""),
    })
}

/// H.264 (RFC 6184) with the feedback we act on.
pub(super) fn h264(codec: &Codec) -> RTCRtpCodec {
    let repair = [feedback("nack", ""), feedback("nack", "pli"), feedback("ccm", "fir")];
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: codec.parameters.clone(),
        rtcp_feedback: repair.into_iter().chain(rate_feedback(codec)).collect(),
    }
}

/// Opus (RFC 7587).
pub(super) fn opus(codec: &Codec) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: codec.parameters.clone(),
        rtcp_feedback: rate_feedback(codec).into_iter().collect(),
    }
}

/// Passes events on. The library waits for each of these calls: none may block.
#[derive(Clone)]
struct Handler {
    events: mpsc::Sender<PeerEvent>,
}

impl Handler {
    fn tell(&self, event: PeerEvent) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            warn!("a session is too slow for its connection: an event was dropped");
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        match event.candidate.to_json() {
            Ok(candidate) => self.tell(PeerEvent::Candidate(candidate)),
            Err(error) => warn!("a candidate of ours can't be written down: {error}"),
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.tell(PeerEvent::CandidatesComplete);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.tell(PeerEvent::State(state));
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.tell(PeerEvent::Channel(channel));
    }
}
