//! A viewer without a browser: joins, connects, and counts what it receives. Knows nothing of the
//! agent but the protocol.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use peercam_protocol::{
    Fingerprint, Nonce, PublicKey, RoomId,
    control::{CHANNEL, Event, MEDIA_CHANNEL, Request},
    link::Grant,
    proof,
    signalling::{Candidate, Error, FromViewer, Pass, Proof, ResumeKey, ToViewer, Transport},
    wire,
};
use rtc::{
    interceptor::Registry,
    peer_connection::{
        configuration::{
            RTCOfferOptions, interceptor_registry::register_default_interceptors,
            media_engine::MediaEngine,
        },
        sdp::RTCSessionDescription,
    },
    rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication,
    rtp,
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit, rtp_sender::RtpCodecKind,
    },
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    media_stream::track_remote::{TrackRemote, TrackRemoteEvent},
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
        RTCIceCandidateInit, RTCPeerConnectionIceEvent, RTCPeerConnectionState, SettingEngine,
        SettingEngineBuilder,
    },
    runtime::TokioRuntime,
};

use super::{
    path::{Path, PathRuntime},
    signalling::Socket,
};

/// How to watch.
#[derive(Debug, Clone)]
pub struct ViewerOptions {
    pub transport: Transport,
    /// Addresses to gather candidates on.
    pub local: Vec<SocketAddr>,
    /// On TCP only, as behind a firewall that lets no UDP through.
    pub tcp: bool,
    /// Whether he reads the `media` channel.
    pub reads: bool,
    /// Whether he opens a `control` channel, as no standard player does.
    pub control: bool,
    /// What lets him in, and the camera's key.
    pub link: Option<(PublicKey, Grant)>,
}

impl ViewerOptions {
    /// On the loopback interface.
    pub fn new(transport: Transport) -> Self {
        let local = vec!["127.0.0.1:0".parse().unwrap()];
        Self { transport, local, tcp: false, reads: true, control: true, link: None }
    }
}

/// What has been received so far.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// ICE and DTLS are there.
    pub connected: bool,
    /// How often they came to be there.
    pub connections: usize,
    /// The connection was there and is gone.
    pub closed: bool,
    /// Whole pictures (RTP packets with the marker), and key frames among them.
    pub frames: usize,
    pub key_frames: usize,
    /// Packets of sound.
    pub audio: usize,
    /// RTP sequence numbers of the picture that never came.
    pub lost: usize,
    /// Bytes of the `media` channel, in messages.
    pub media: Vec<Bytes>,
    /// From the `control` channel.
    pub events: Vec<Event>,
    /// From signalling, after the answer.
    pub errors: Vec<Error>,
    pub byes: usize,
    /// The camera asked for a restart of ICE.
    pub restarts_asked: usize,
    pub answers: usize,
    /// Since the offer was sent.
    pub connected_after: Option<Duration>,
    pub first_frame_after: Option<Duration>,
}

/// A viewer who watches.
pub struct Viewer {
    connection: Arc<dyn PeerConnection>,
    control: Option<Arc<dyn DataChannel>>,
    received: watch::Receiver<Received>,
    video: Arc<Mutex<Option<Arc<dyn TrackRemote>>>>,
    outgoing: mpsc::Sender<Outgoing>,
    tasks: Vec<JoinHandle<()>>,
    transport: Transport,
    /// The `media` channel of one who reads nothing.
    unread: Option<Arc<dyn DataChannel>>,
    seat: Arc<Seat>,
    /// To the camera; the line to the rendezvous is another one.
    pub path: Path,
}

/// For the line to the rendezvous.
pub(super) enum Outgoing {
    Say(FromViewer),
    /// From now on the line is this; without one, there is none.
    Use(Box<Option<Socket>>),
}

/// What connects, and counts what it receives; who tells it of the camera, and the camera of it, is
/// another's business.
pub(super) struct Peer {
    pub connection: Arc<dyn PeerConnection>,
    control: Option<Arc<dyn DataChannel>>,
    pub received: watch::Receiver<Received>,
    sender: watch::Sender<Received>,
    video: Arc<Mutex<Option<Arc<dyn TrackRemote>>>>,
    outgoing: mpsc::Sender<Outgoing>,
    /// Its candidates.
    pub outbox: mpsc::Receiver<Outgoing>,
    tasks: Vec<JoinHandle<()>>,
    unread: Option<Arc<dyn DataChannel>>,
    path: Path,
}

impl Peer {
    pub async fn new(options: &ViewerOptions) -> Self {
        let (sender, received) = watch::channel(Received::default());
        let (outgoing, outbox) = mpsc::channel::<Outgoing>(64);
        let video = Arc::new(Mutex::new(None));
        let begun = Instant::now();
        let handler = Handler {
            received: sender.clone(),
            outgoing: outgoing.clone(),
            video: video.clone(),
            begun,
        };
        let path = Path::default();
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut engine).unwrap();
        let connection = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(engine)
            .with_setting_engine(settings(options.reads))
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(handler))
            .with_runtime(Arc::new(PathRuntime(TokioRuntime, path.clone())))
            .with_udp_addrs(if options.tcp { Vec::new() } else { options.local.clone() })
            .with_tcp_addrs(if options.tcp { options.local.clone() } else { Vec::new() })
            .build()
            .await
            .unwrap();
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let mut tasks = Vec::new();
        let mut unread = None;
        let mut control = None;
        if options.control {
            let channel = connection.create_data_channel(CHANNEL, None).await.unwrap();
            tasks.push(tokio::spawn(read_control(channel.clone(), sender.clone())));
            control = Some(channel);
        }
        match options.transport {
            Transport::Rtp => {
                for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
                    let direction = RTCRtpTransceiverDirection::Recvonly;
                    let init = RTCRtpTransceiverInit { direction, ..Default::default() };
                    connection.add_transceiver_from_kind(kind, Some(init)).await.unwrap();
                }
            }
            Transport::Fmp4 => {
                let media = connection.create_data_channel(MEDIA_CHANNEL, None).await.unwrap();
                if options.reads {
                    tasks.push(tokio::spawn(read_media(media, sender.clone(), begun)));
                } else {
                    unread = Some(media);
                }
            }
        }
        Self { connection, control, received, sender, video, outgoing, outbox, tasks, unread, path }
    }
}

impl Viewer {
    /// Joins the room and returns once the offer is out.
    pub async fn join(server: SocketAddr, room: &str, options: ViewerOptions) -> Self {
        let token = options.link.as_ref().map(|(_, grant)| grant.token.as_str());
        let mut socket = Socket::watch_with(server, room, token).await;
        socket.until_online().await;
        let Peer {
            connection,
            control,
            received,
            sender,
            video,
            outgoing,
            mut outbox,
            mut tasks,
            unread,
            path,
        } = Peer::new(&options).await;
        let offer = connection.create_offer(None).await.unwrap();
        let seat =
            Seat { room: room.parse().unwrap(), link: options.link, proven: Mutex::default() };
        let seat = Arc::new(seat);
        let join = FromViewer::Join {
            transport: options.transport,
            offer: offer.sdp.clone(),
            resume: None,
            pass: seat.show(&offer.sdp),
        };
        socket.send(&join).await;
        connection.set_local_description(offer).await.unwrap();
        let (peer, shown) = (connection.clone(), seat.clone());
        tasks.push(tokio::spawn(async move {
            // Candidates may overtake nothing: the answer comes first on the same line.
            let mut socket = Some(socket);
            loop {
                tokio::select! {
                    message = listen(&mut socket) => match message {
                        Some(message) => {
                            if let ToViewer::Answer { sdp, proof } = &message {
                                shown.check(sdp, proof.as_ref());
                            }
                            hear(&peer, message, &sender).await;
                        }
                        None => socket = None,
                    },
                    message = outbox.recv() => match (message, &mut socket) {
                        (Some(Outgoing::Say(message)), Some(socket)) => {
                            socket.send(&message).await;
                        }
                        (Some(Outgoing::Say(_)), None) => {}
                        (Some(Outgoing::Use(other)), _) => socket = *other,
                        (None, _) => return,
                    },
                }
            }
        }));
        let transport = options.transport;
        Self {
            connection,
            control,
            received,
            video,
            outgoing,
            tasks,
            transport,
            path,
            unread,
            seat,
        }
    }

    /// What the camera gave him to take the session up again.
    pub async fn resume_key(&self) -> ResumeKey {
        let key = |event: &Event| match event {
            Event::Session { resume } => Some(resume.clone()),
            _ => None,
        };
        let all = self.until("the resume key", |all| all.events.iter().any(|e| key(e).is_some()));
        all.await.events.iter().find_map(key).unwrap()
    }

    /// Takes another line to the rendezvous, or none.
    pub async fn use_line(&self, socket: Option<Socket>) {
        assert!(self.outgoing.send(Outgoing::Use(Box::new(socket))).await.is_ok());
    }

    /// Offers a restart of ICE on the line there is.
    pub async fn restart(&self) {
        let key = self.resume_key().await;
        self.restart_with(key).await;
    }

    /// The same with any key, or none.
    pub async fn restart_with(&self, key: impl Into<Option<ResumeKey>>) {
        let offer = self.offer_restart().await;
        self.join_again(offer.sdp.clone(), key).await;
        self.apply_offer(offer).await;
    }

    /// An offer that restarts ICE; nothing has happened yet.
    pub async fn offer_restart(&self) -> RTCSessionDescription {
        let options = RTCOfferOptions { ice_restart: true };
        self.connection.create_offer(Some(options)).await.unwrap()
    }

    /// The candidates that belong to an offer are gathered and sent from here on.
    pub async fn apply_offer(&self, offer: RTCSessionDescription) {
        self.connection.set_local_description(offer).await.unwrap();
    }

    /// Any offer with any key, or none.
    pub async fn join_again(&self, offer: String, key: impl Into<Option<ResumeKey>>) {
        let (transport, resume) = (self.transport, key.into());
        let pass = self.seat.show(&offer);
        self.signal(FromViewer::Join { transport, offer, resume, pass }).await;
    }

    /// What has been received up to now.
    pub fn received(&self) -> Received {
        self.received.borrow().clone()
    }

    /// Waits until enough has been received.
    pub async fn until(&self, what: &str, enough: impl Fn(&Received) -> bool) -> Received {
        until(&self.received, what, enough).await
    }

    /// Waits for more pictures, of whichever transport.
    pub async fn plays_on(&self) {
        plays_on(&self.received).await;
    }

    /// Candidate types of the path in use: ours and the camera's.
    pub async fn candidate_types(&self) -> (String, String) {
        let ice = self.connection.sctp().await.unwrap().transport().ice_transport();
        let pair = ice.get_selected_candidate_pair().await.unwrap().expect("a path");
        (pair.local().typ.to_string(), pair.remote().typ.to_string())
    }

    pub async fn request(&self, request: &Request) {
        self.say(&wire::encode(request)).await;
    }

    pub async fn say(&self, text: &str) {
        let control = self.control.as_ref().expect("a control channel");
        control.send_text(text).await.unwrap();
    }

    /// Asks for a key frame by RTCP.
    pub async fn picture_loss(&self) {
        let track = self.video.lock().unwrap().clone().expect("video has come");
        let media_ssrc = track.ssrcs().await[0];
        let pli = PictureLossIndication { sender_ssrc: 0, media_ssrc };
        track.write_rtcp(vec![Box::new(pli)]).await.unwrap();
    }

    /// A message to the rendezvous.
    pub async fn signal(&self, message: FromViewer) {
        assert!(self.outgoing.send(Outgoing::Say(message)).await.is_ok());
    }

    /// Leaves as a closed page does: without a word.
    pub async fn leave(self) {
        self.connection.close().await.unwrap();
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Waits until enough has been received.
pub(super) async fn until(
    received: &watch::Receiver<Received>,
    what: &str,
    enough: impl Fn(&Received) -> bool,
) -> Received {
    let mut waiter = received.clone();
    let waiting = tokio::time::timeout(super::PATIENCE, waiter.wait_for(|all| enough(all)));
    match waiting.await {
        Ok(outcome) => outcome.unwrap().clone(),
        Err(_) => {
            let seen = received.borrow().clone();
            let messages = seen.media.len();
            let seen = Received { media: Vec::new(), ..seen };
            panic!("no {what}; {messages} media messages, {seen:#?}");
        }
    }
}

/// Waits for more pictures, of whichever transport.
pub(super) async fn plays_on(received: &watch::Receiver<Received>) {
    let now = received.borrow().clone();
    let (frames, media) = (now.frames, now.media.len());
    until(received, "more pictures", |all| all.frames > frames + 5 || all.media.len() > media + 5)
        .await;
}

/// What a viewer shows with an offer of this certificate.
pub fn pass(camera: &PublicKey, room: &str, viewer: &Fingerprint, grant: Option<&Grant>) -> Pass {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).unwrap();
    let nonce = Nonce::from_bytes(nonce);
    let statement = proof::join(camera, &room.parse().unwrap(), &nonce, viewer);
    let key = grant.and_then(|grant| grant.key.as_ref());
    Pass {
        nonce,
        token: grant.map(|grant| grant.token.clone()),
        signature: key.map(|key| key.sign(&statement)),
    }
}

/// What a viewer shows in a room, and what he wants to see.
struct Seat {
    room: RoomId,
    link: Option<(PublicKey, Grant)>,
    /// For the answer to the last offer.
    proven: Mutex<Option<Proven>>,
}

impl Seat {
    /// For one who has a link, and an offer that is one.
    fn show(&self, offer: &str) -> Option<Pass> {
        let (camera, grant) = self.link.as_ref()?;
        let viewer = Fingerprint::of_sdp(offer).ok()?;
        let pass = pass(camera, self.room.as_str(), &viewer, Some(grant));
        let (camera, room, nonce) = (*camera, self.room.clone(), pass.nonce);
        *self.proven.lock().unwrap() = Some(Proven { camera, room, nonce, viewer });
        Some(pass)
    }

    fn check(&self, answer: &str, proof: Option<&Proof>) {
        if let Some(proven) = &*self.proven.lock().unwrap() {
            proven.check(answer, proof);
        }
    }
}

/// What a viewer wants to be sure of.
pub struct Proven {
    pub camera: PublicKey,
    pub room: RoomId,
    pub nonce: Nonce,
    pub viewer: Fingerprint,
}

impl Proven {
    /// Whether the answer is the camera's.
    pub fn check(&self, answer: &str, proof: Option<&Proof>) {
        let proof = proof.expect("a proof");
        assert_eq!(proof.key, self.camera);
        let camera = Fingerprint::of_sdp(answer).unwrap();
        let statement = proof::answer(&self.room, &self.nonce, &camera, &self.viewer);
        assert!(self.camera.verify(&statement, &proof.signature), "{statement}");
    }
}

/// The next message; none from a line that broke; for ever without a line.
async fn listen(socket: &mut Option<Socket>) -> Option<ToViewer> {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}

/// A browser nominates a path as soon as it works; the library would wait for a better one.
fn settings(reads: bool) -> SettingEngine {
    let at_once = Some(Duration::ZERO);
    let settings = SettingEngineBuilder::new();
    // Who reads nothing has no room for what he doesn't read.
    let settings = match reads {
        true => settings,
        false => settings.with_sctp_max_receive_buffer_size(64 * 1024),
    };
    settings
        .with_host_acceptance_min_wait(at_once)
        .with_srflx_acceptance_min_wait(at_once)
        .with_prflx_acceptance_min_wait(at_once)
        .with_relay_acceptance_min_wait(at_once)
        .build()
}

async fn hear(
    peer: &Arc<dyn PeerConnection>,
    message: ToViewer,
    received: &watch::Sender<Received>,
) {
    match message {
        ToViewer::Answer { sdp, .. } => {
            let answer = RTCSessionDescription::answer(sdp).unwrap();
            // It may be here before the offer is applied.
            while peer.set_remote_description(answer.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            received.send_modify(|all| all.answers += 1);
        }
        ToViewer::Candidate { candidate } if !candidate.candidate.is_empty() => {
            let candidate = RTCIceCandidateInit {
                candidate: candidate.candidate,
                sdp_mid: candidate.sdp_mid,
                sdp_mline_index: candidate.sdp_m_line_index,
                username_fragment: candidate.username_fragment,
                url: None,
            };
            peer.add_ice_candidate(candidate).await.unwrap();
        }
        ToViewer::Error { error } => received.send_modify(|all| all.errors.push(error)),
        ToViewer::Restart {} => received.send_modify(|all| all.restarts_asked += 1),
        ToViewer::Bye { .. } => received.send_modify(|all| all.byes += 1),
        _ => {}
    }
}

async fn read_control(channel: Arc<dyn DataChannel>, received: watch::Sender<Received>) {
    while let Some(event) = channel.poll().await {
        if let DataChannelEvent::OnMessage(message) = event {
            let event = wire::decode(std::str::from_utf8(&message.data).unwrap()).unwrap();
            received.send_modify(|all| all.events.push(event));
        }
    }
}

async fn read_media(
    channel: Arc<dyn DataChannel>,
    received: watch::Sender<Received>,
    begun: Instant,
) {
    while let Some(event) = channel.poll().await {
        if let DataChannelEvent::OnMessage(message) = event {
            received.send_modify(|all| {
                all.first_frame_after.get_or_insert(begun.elapsed());
                all.media.push(message.data.freeze());
            });
        }
    }
}

struct Handler {
    received: watch::Sender<Received>,
    outgoing: mpsc::Sender<Outgoing>,
    video: Arc<Mutex<Option<Arc<dyn TrackRemote>>>>,
    begun: Instant,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let candidate = event.candidate.to_json().unwrap();
        let candidate = Candidate {
            candidate: candidate.candidate,
            sdp_mid: None,
            sdp_m_line_index: Some(0),
            username_fragment: None,
        };
        let _ = self.outgoing.try_send(Outgoing::Say(FromViewer::Candidate { candidate }));
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.received.send_modify(|all| match state {
            RTCPeerConnectionState::Connected => {
                all.connected = true;
                all.connections += 1;
                all.connected_after.get_or_insert(self.begun.elapsed());
            }
            RTCPeerConnectionState::Failed
            | RTCPeerConnectionState::Closed
            | RTCPeerConnectionState::Disconnected => all.closed = true,
            _ => {}
        });
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let (received, begun) = (self.received.clone(), self.begun);
        if track.kind().await == RtpCodecKind::Video {
            *self.video.lock().unwrap() = Some(track.clone());
            tokio::spawn(read_video(track, received, begun));
        } else {
            tokio::spawn(async move {
                while let Some(event) = track.poll().await {
                    if matches!(event, TrackRemoteEvent::OnRtpPacket(_)) {
                        received.send_modify(|all| all.audio += 1);
                    }
                }
            });
        }
    }
}

async fn read_video(
    track: Arc<dyn TrackRemote>,
    received: watch::Sender<Received>,
    begun: Instant,
) {
    let mut key = false;
    let mut expected: Option<u16> = None;
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        key |= begins_key_frame(&packet);
        let sequence_number = packet.header.sequence_number;
        // Retransmitted packets come late; what comes is not lost.
        let ahead = expected.map_or(0, |expected| sequence_number.wrapping_sub(expected));
        let late = ahead > u16::MAX / 2;
        if !late {
            expected = Some(sequence_number.wrapping_add(1));
        }
        let ended = packet.header.marker;
        received.send_modify(|all| {
            if late {
                all.lost = all.lost.saturating_sub(1);
            } else {
                all.lost += usize::from(ahead);
            }
            if ended {
                all.frames += 1;
                all.key_frames += usize::from(key);
                all.first_frame_after.get_or_insert(begun.elapsed());
            }
        });
        if ended {
            key = false;
        }
    }
}

/// Whether the packet holds a sequence parameter set (RFC 6184 §5.4), or an IDR slice.
fn begins_key_frame(packet: &rtp::Packet) -> bool {
    let payload = &packet.payload;
    match payload.first().map(|byte| byte & 0x1f) {
        Some(24) => payload.get(3).is_some_and(|byte| byte & 0x1f == 7),
        Some(28) => payload.get(1).is_some_and(|byte| byte & 0x1f == 5),
        Some(kind) => kind == 5 || kind == 7,
        None => false,
    }
}
