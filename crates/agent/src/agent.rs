//! The loop that holds everything together: rooms, sessions, camera, requests, heartbeats.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use peercam_heartbeat::Notifier;
use peercam_media::Camera;
use peercam_protocol::{
    Fingerprint, RoomId,
    signalling::{
        ByeReason, Candidate, Door, Error, ErrorCode, FromCamera, IceServer, Pass, ResumeKey,
        SessionId, ToCamera, Transport,
    },
};
use tokio::{
    task::{self, JoinSet},
    time::MissedTickBehavior,
};
use tracing::{debug, error, info, warn};

use crate::{
    access::{Access, Ticket},
    certificate,
    config::Config,
    control_socket::{self, Asked},
    hosts::{HostId, Hosts, Wish},
    identity::Identity,
    network_watch::{Change, Watch},
    packetizer::Packetizer,
    rendezvous::{Event, Outbox, Plan},
    session::{Ended, Handle, Host, Join, Resume, network::Network, servers::Servers, turn::Turn},
    streams::Streams,
    tls::{Time, Tls},
};

mod progress;
mod requests;
use progress::Pictures;

/// For all sessions to say bye and close, when the camera stops.
const SESSIONS_END: Duration = Duration::from_millis(1500);
/// For the last messages to reach the rendezvous.
const CLIENT_END: Duration = Duration::from_millis(500);
/// How often running sessions are looked at: whether their time is over.
const REVIEW: Duration = Duration::from_secs(5);
/// Most time between two heartbeats: the supervisor hears by them how the work goes, and a hang is
/// to be noticed soon.
const BEAT: Duration = Duration::from_millis(1500);
/// For the encoders and devices to be closed.
const CAMERA_END: Duration = Duration::from_millis(700);

/// The camera, until `shutdown` resolves.
///
/// # Errors
///
/// When it can't begin: identity, encoders, certificate. Nothing that happens later is one.
pub async fn run(
    config: Config,
    notifier: &Notifier,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    if let Some(reason) = notifier.safe_mode() {
        warn!("safe mode: the camera is not shown, because of {reason}");
    }
    let identity = Identity::load_or_create(&config.state_dir)?;
    let room = config.room.clone().unwrap_or_else(|| identity.room());
    let access = Access::open(&identity, &config.access, &config.state_dir);
    let tls = Tls::load(config.network.turn_ca.as_deref()).context("network.turn-ca")?;
    let tls = tls.by_clock(clock(&access));
    let camera = Camera::start(config.media.clone()).context("the camera can't start")?;
    let camera = Arc::new(camera);
    let host = Host {
        streams: Streams::new(camera.clone()),
        camera,
        packetizer: Arc::new(Packetizer::default()),
        certificate: certificate::load_or_create(&config.state_dir)
            .context("no certificate for DTLS")?,
        network: Arc::new(Network::new(config.network.clone())),
        turn: Arc::new(Turn::new(tls)),
        bitrate_kbps: config.media.video.bitrate_kbps,
        patience: config.patience,
    };
    let hosts = go_to_rooms(&config, &room, access.clone())?;
    if hosts.is_empty() {
        warn!("rendezvous.urls is empty: this camera runs, but no viewer can find it");
    }
    let watch = Watch::start(host.network.clone())
        .inspect_err(|error| warn!("changes of the network are noticed late: {error}"))
        .ok();
    let agent = Agent {
        room,
        access,
        pictures: Pictures::new(host.camera.status(), Instant::now()),
        reached: None,
        max_viewers: config.max_viewers,
        host,
        hosts,
        links: HashMap::new(),
        linked: 0,
        sessions: HashMap::new(),
        tasks: JoinSet::new(),
        keys: HashMap::new(),
        started: Instant::now(),
        notifier,
    };
    agent.run(listen(&config), watch, shutdown).await;
    Ok(())
}

/// The configured room, and those that were added.
fn go_to_rooms(config: &Config, room: &RoomId, access: Access) -> anyhow::Result<Hosts> {
    let tls = Tls::load(config.rendezvous_ca.as_deref()).context("rendezvous.ca")?;
    let tls = tls.by_clock(clock(&access));
    let plan = move |wish: &Wish| {
        let (servers, room) = (wish.servers.clone(), wish.room.clone());
        let mut plan = Plan::new(servers, room, tls.clone(), access.clone());
        plan.bearer = wish.token.clone();
        plan
    };
    let servers = config.servers.clone();
    let wish = Wish { servers, room: room.clone(), token: None, keep_alive: true };
    let configured = Some(wish).filter(|wish| !wish.servers.is_empty());
    Ok(Hosts::start(&config.state_dir, configured, plan))
}

/// What time it is, for TLS.
fn clock(access: &Access) -> impl Fn() -> Time + Send + Sync + 'static {
    let access = access.clone();
    move || access.time()
}

/// The control socket. A camera without one is a camera.
fn listen(config: &Config) -> Option<control_socket::Server> {
    let path = config.control_socket.as_ref()?;
    let started = control_socket::Listener::bind(path)
        .map_err(|error| error.to_string())
        .and_then(|it| control_socket::Server::start(it).map_err(|error| error.to_string()));
    started.inspect_err(|error| warn!("no control socket, peercamctl can't help: {error}")).ok()
}

struct Agent<'a> {
    /// The room of a camera that is told no other.
    room: RoomId,
    /// Who may watch.
    access: Access,
    max_viewers: usize,
    host: Host,
    /// The rooms it waits in.
    hosts: Hosts,
    /// Those connections to rendezvous servers that there are now.
    links: HashMap<HostId, Link>,
    /// How many there were.
    linked: u64,
    /// Those that run, also the ones that came by an earlier connection.
    sessions: HashMap<Key, Running>,
    tasks: JoinSet<Ended>,
    keys: HashMap<task::Id, Key>,
    started: Instant,
    pictures: Pictures,
    /// When a rendezvous server was last heard.
    reached: Option<Instant>,
    notifier: &'a Notifier,
}

/// A session: sessions are numbered anew on every connection to the rendezvous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    link: u64,
    session: SessionId,
}

/// A connection to the rendezvous.
struct Link {
    number: u64,
    room: RoomId,
    outbox: Outbox,
    servers: Servers,
    /// The highest session that joined: what is above has not joined yet, what is below and not
    /// running has ended.
    newest: Option<SessionId>,
}

struct Running {
    /// The room he came by.
    host: HostId,
    transport: Transport,
    since: Instant,
    handle: Handle,
    /// By what he came in.
    ticket: Option<Ticket>,
    /// Of his certificate: who he is.
    fingerprint: Option<Fingerprint>,
    resume: ResumeKey,
    task: task::Id,
    /// His line to the rendezvous is gone, so he may be.
    left: bool,
}

impl Agent<'_> {
    async fn run(
        mut self,
        mut control: Option<control_socket::Server>,
        mut watch: Option<Watch>,
        shutdown: impl Future<Output = ()>,
    ) {
        tokio::pin!(shutdown);
        let mut heartbeat =
            self.notifier.interval().map(|every| tokio::time::interval(every.min(BEAT)));
        if let Some(heartbeat) = &mut heartbeat {
            heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut revocations = self.access.revocations();
        let mut reviews = tokio::time::interval(REVIEW);
        reviews.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.notifier.ready(&self.describe());
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                (id, event) = self.hosts.next() => self.hear(id, event),
                Some(asked) = asked(&mut control) => self.answer(asked),
                Some(change) = changed(&mut watch) => self.follow_network(change),
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
                Ok(()) = revocations.changed() => self.review(),
                _ = reviews.tick() => {
                    self.access.keep_time();
                    self.review();
                }
                // From this loop and no other: a loop that hangs is not alive.
                () = tick(&mut heartbeat) => self.beat(),
            }
        }
        drop(control);
        self.stop().await;
    }

    /// A heartbeat: alive, and how the work goes.
    fn beat(&mut self) {
        let progress = self.pictures.progress(Instant::now(), self.host.camera.watchers());
        self.notifier.working(progress);
        self.notifier.status(&self.describe());
    }

    /// One line for the supervisor.
    fn describe(&self) -> String {
        let mut line = self.describe_rooms();
        if let Some(reason) = self.notifier.safe_mode() {
            line += &format!(", safe mode ({reason})");
        }
        line += &format!(", {}", self.pictures.describe());
        if self.links.is_empty()
            && let Some(at) = self.reached
        {
            line += &format!(", rendezvous last reached {} s ago", at.elapsed().as_secs());
        }
        line
    }

    fn describe_rooms(&self) -> String {
        let viewers = self.sessions.len();
        let rooms: Vec<_> = self.hosts.iter().map(|(_, host)| host).collect();
        let Some(first) = rooms.first() else { return "no rendezvous configured".to_owned() };
        let others = match rooms.len() {
            1 => String::new(),
            count => format!(" ({} of {count} rooms)", self.links.len()),
        };
        match rooms.iter().find(|host| host.is_hosting()) {
            Some(host) => format!("hosting room {}{others}, {viewers} viewers", host.wish.room),
            None => {
                let or = if first.wish.servers.len() > 1 { " or others" } else { "" };
                format!("connecting to {}{or}{others}, {viewers} viewers", first.server())
            }
        }
    }

    fn hear(&mut self, id: HostId, event: Event) {
        if !matches!(event, Event::Trouble(_)) {
            // Even that a line was lost says that there was one until now.
            self.reached = Some(Instant::now());
        }
        match event {
            Event::Hosting { server, room, ice_servers, outbox } => {
                match (server.watch_link(&room), self.access.door()) {
                    (Some(link), Door::Open) => info!("hosting room {room}: watch at {link}"),
                    (_, Door::Open) => info!("hosting room {room} on {server}"),
                    (_, Door::Token) => info!(
                        "hosting room {room} on {server}: a link that opens it comes from \
                         \"peercamctl share\""
                    ),
                }
                self.linked += 1;
                let servers = Servers::new(&ice_servers, &self.host.turn);
                let link = Link { number: self.linked, room, outbox, servers, newest: None };
                self.links.insert(id, link);
            }
            Event::Message(message) => self.obey(id, message),
            Event::Trouble(_) => {}
            Event::Lost => self.lose(id),
        }
        self.notifier.status(&self.describe());
    }

    /// A connection is gone.
    fn lose(&mut self, id: HostId) {
        self.links.remove(&id);
        let running = self.sessions.values().filter(|running| running.host == id).count();
        info!("the rendezvous is gone; {running} running sessions go on");
        let kept = self.hosts.get(id).is_some_and(|host| host.wish.keep_alive);
        if kept {
            return;
        }
        // Its sessions go on here too, they just can't be taken up again.
        if let Ok(host) = self.hosts.remove(id) {
            info!("room {} is not kept alive: it is left", host.wish.room);
            tokio::spawn(host.close(CLIENT_END));
        }
    }

    /// This machine's network is another. The sessions ask for new paths by the lines they have;
    /// where the line is cut off as well, the viewers see the camera come back to its room.
    fn follow_network(&mut self, change: Change) {
        for running in self.sessions.values() {
            running.handle.network_changed(change);
        }
        self.hosts.network_changed();
    }

    fn obey(&mut self, id: HostId, message: ToCamera) {
        match message {
            ToCamera::Join { session, transport, offer, resume, pass, ice_servers } => {
                self.renew_servers(id, &ice_servers);
                let pass = pass.as_ref();
                // A restart of ICE by one who was never told a key: he is who he was, as the offer
                // has to have the session's DTLS fingerprint.
                let known = || self.running(id, session).map(|running| running.resume.clone());
                match resume.or_else(known) {
                    None => self.join(id, session, transport, offer, pass),
                    Some(key) => self.resume(id, session, transport, offer, &key, pass),
                }
            }
            ToCamera::Candidate { session, candidate } => self.candidate(id, session, candidate),
            ToCamera::Bye { session, reason } => match self.running(id, session) {
                Some(running) => {
                    running.left = true;
                    match reason {
                        // The server's administrator sent the viewer away: unlike one that left,
                        // it is not waited for.
                        ByeReason::Other => running.handle.stop(reason),
                        _ => running.handle.viewer_left(),
                    }
                }
                None => debug!("bye for session {session}, which does not run"),
            },
            // The connection deals with these.
            ToCamera::Challenge { .. }
            | ToCamera::Hosting { .. }
            | ToCamera::Move { .. }
            | ToCamera::Error { .. } => {}
        }
    }

    fn running(&mut self, id: HostId, session: SessionId) -> Option<&mut Running> {
        let link = self.links.get(&id)?.number;
        self.sessions.get_mut(&Key { link, session })
    }

    /// Credentials of TURN servers expire: the rendezvous sends fresh ones with a viewer.
    fn renew_servers(&mut self, id: HostId, ice_servers: &[IceServer]) {
        if let Some(link) = self.links.get_mut(&id).filter(|_| !ice_servers.is_empty()) {
            link.servers.renew(ice_servers, &self.host.turn);
        }
    }

    /// Who may not watch any longer hears why.
    fn review(&self) {
        for running in self.sessions.values() {
            if let Some(ticket) = &running.ticket
                && let Err(error) = self.access.review(ticket)
            {
                running.handle.refuse(error.into());
            }
        }
    }

    fn join(
        &mut self,
        id: HostId,
        session: SessionId,
        transport: Transport,
        offer: String,
        pass: Option<&Pass>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let key = Key { link: link.number, session };
        let refuse = |code, message: String| {
            debug!(session = session.0, "join refused: {message}");
            let error = Error::new(code, message);
            link.outbox.send(FromCamera::Error { session: Some(session), error });
        };
        link.newest = link.newest.max(Some(session));
        // Before all else: who may not come in takes nobody's place.
        let admission = match self.access.admit(&link.room, &offer, pass) {
            Ok(admission) => admission,
            Err(error) => return refuse(error.code, error.message),
        };
        if self.sessions.len() >= self.max_viewers {
            // One who may be gone makes room for one who is here.
            let gone = |running: &&Running| running.left || running.handle.is_path_lost();
            match self.sessions.values().find(gone) {
                Some(running) => running.handle.stop(ByeReason::ViewerLeft),
                None => {
                    let max = self.max_viewers;
                    info!("a viewer was refused: {max} are watching, viewers.max");
                    let message = format!("the camera is full: {max} viewers watch; try later");
                    return refuse(ErrorCode::Full, message);
                }
            }
        }
        let mut key_bytes = [0; 16];
        if let Err(error) = getrandom::fill(&mut key_bytes) {
            warn!("no random numbers: {error}");
            let message = "the camera has no random numbers: see its log".to_owned();
            return refuse(ErrorCode::Other, message);
        }
        let resume = ResumeKey::from_bytes(key_bytes);
        let kept = match self.access.enter(&admission) {
            Ok(kept) => kept,
            Err(error) => return refuse(error.code, error.message),
        };
        let join = Join {
            id: session,
            transport,
            offer,
            ice_servers: link.servers.current(),
            outbox: link.outbox.clone(),
            resume: resume.clone(),
            witness: admission.witness,
            kept,
        };
        let (handle, task) = Handle::new(self.host.clone(), join);
        let task = self.tasks.spawn(task).id();
        let running = Running {
            host: id,
            transport,
            since: Instant::now(),
            handle,
            ticket: admission.ticket,
            fingerprint: admission.fingerprint,
            resume,
            task,
            left: false,
        };
        self.sessions.insert(key, running);
        self.keys.insert(task, key);
    }

    /// A viewer takes a running session up again, by the number `session` from now on.
    fn resume(
        &mut self,
        id: HostId,
        session: SessionId,
        transport: Transport,
        offer: String,
        resume: &ResumeKey,
        pass: Option<&Pass>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let key = Key { link: link.number, session };
        let refuse = |code, message: String| {
            debug!(session = session.0, "resume refused: {message}");
            let error = Error::new(code, message);
            link.outbox.send(FromCamera::Error { session: Some(session), error });
        };
        link.newest = link.newest.max(Some(session));
        let found = self.sessions.iter().find(|(_, running)| running.resume == *resume);
        let Some(former) = found.map(|(former, _)| *former) else {
            let message = "the session does not run any more: join anew".to_owned();
            return refuse(ErrorCode::SessionGone, message);
        };
        if former != key && self.sessions.contains_key(&key) {
            let message = format!("session {session} is another one: say bye first");
            return refuse(ErrorCode::OutOfOrder, message);
        }
        // On his own line a viewer only hears what is wrong. Who comes by another one, with a key
        // that he may have seen, gets hold of nothing before he has shown who he is.
        let fingerprint = Fingerprint::of_sdp(&offer).ok();
        let same = |running: &Running| running.fingerprint == fingerprint;
        if former != key && !self.sessions.get(&former).is_some_and(same) {
            let message = "the session is another browser's: its certificate differs; join anew";
            return refuse(ErrorCode::TokenNotYours, message.to_owned());
        }
        let witness = match self.access.readmit(&link.room, &offer, pass) {
            Ok(witness) => witness,
            Err(error) => return refuse(error.code, error.message),
        };
        let Some(mut running) = self.sessions.remove(&former) else { return };
        let resume = Resume {
            id: session,
            transport,
            offer,
            ice_servers: link.servers.current(),
            outbox: link.outbox.clone(),
            witness,
        };
        let heard = running.handle.resume(resume);
        if !heard {
            refuse(ErrorCode::OutOfOrder, "too much at once: try again".to_owned());
            self.sessions.insert(former, running);
            return;
        }
        running.left = false;
        running.host = id;
        self.keys.insert(running.task, key);
        self.sessions.insert(key, running);
    }

    fn candidate(&mut self, id: HostId, session: SessionId, candidate: Candidate) {
        let problem = match self.running(id, session) {
            Some(running) if running.handle.candidate(candidate) => return,
            Some(_) => Error::new(ErrorCode::BadMessage, "too many candidates at once"),
            None => {
                let newest = self.links.get(&id).and_then(|link| link.newest);
                if Some(session) <= newest {
                    return debug!("a candidate for session {session}, which has ended");
                }
                let message = format!("a candidate for session {session}, which has not joined");
                Error::new(ErrorCode::OutOfOrder, message)
            }
        };
        if let Some(link) = self.links.get(&id) {
            link.outbox.send(FromCamera::Error { session: Some(session), error: problem });
        }
    }

    /// A session's task has ended.
    fn forget(&mut self, ended: Result<(task::Id, Ended), task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(key) = self.keys.remove(&id) else { return };
        self.sessions.remove(&key);
        if let Err(failure) = ended {
            error!(session = key.session.0, "a session broke down: {failure}");
            if let Some(link) = self.links.values().find(|link| link.number == key.link) {
                let error =
                    Error::new(ErrorCode::Other, "the session failed: see the camera's log");
                link.outbox.send(FromCamera::Error { session: Some(key.session), error });
            }
        }
        self.notifier.status(&self.describe());
    }

    /// Every viewer hears bye, every socket is closed, every task has ended.
    async fn stop(mut self) {
        self.notifier.stopping();
        info!("stopping; {} viewers hear bye", self.sessions.len());
        self.sessions.clear();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(SESSIONS_END, ended).await.is_err() {
            warn!("{} sessions did not end in time and are cut off", self.tasks.len());
            self.tasks.shutdown().await;
        }
        self.links.clear();
        self.hosts.close(CLIENT_END).await;
        // Closing a device may block.
        let camera = Arc::into_inner(self.host.camera);
        let stopped = task::spawn_blocking(move || camera.map(Camera::stop));
        if tokio::time::timeout(CAMERA_END, stopped).await.is_err() {
            warn!("the camera's device did not close in time");
        }
        info!("stopped");
    }
}

async fn asked(control: &mut Option<control_socket::Server>) -> Option<Asked> {
    match control {
        Some(control) => control.next().await,
        None => std::future::pending().await,
    }
}

async fn changed(watch: &mut Option<Watch>) -> Option<Change> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
