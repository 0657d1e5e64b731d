//! The connection to NATS: made, used until it breaks, and made again.
//!
//! Nothing outlives a connection: after a break all visits end, what stood in the buckets is
//! forgotten, and the next connection begins as the first one did. So there is one way to come to
//! a consistent state, and a server that was away for a second or for a day makes no difference.

use std::{error::Error, future::Future, io, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, bail};
use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event,
    jetstream::{
        self,
        consumer::{DeliverPolicy, pull},
        kv::{Entry, Operation, Store, UpdateErrorKind},
        stream::{self, DiscardPolicy, StorageType},
    },
};
use futures_util::{Stream, StreamExt, future::join_all};
use peercam_protocol::RoomId;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout, timeout_at},
};
use tracing::{debug, warn};

use super::{
    Cluster,
    cameras::{Hosting, Task},
    claims,
    config::{ClusterConfig, Login},
    errands,
    figures::Figures,
    guests::Guests,
    message::{
        Errand, MAX_PAYLOAD, Message, NodeId, Reply, VisitId, decode, encode, node_subject,
        nodes_subject,
    },
    nodes::{BEAT, SILENCE},
};
use crate::{connection::Rules, rooms::Rooms, whep::Desk};

/// Longest wait for one answer of NATS.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Pause before the next attempt to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a node that has just connected listens for the others, before it believes what stands
/// in the bucket about them.
const GREETING: Duration = Duration::from_millis(300);

/// Messages that may wait in either direction between this node and NATS. With the largest ones
/// these are tens of megabytes, with usual ones two.
const QUEUE: usize = 1_024;

/// Cameras that are written to the bucket at the same time.
const WRITES: usize = 64;

/// Attempts to write one camera before others get their turn.
const ATTEMPTS: u32 = 4;

/// Time between two looks for guests whose node has forgotten them.
const CHECK: Duration = Duration::from_secs(30);

/// Largest value in the buckets, in bytes.
const VALUE: i32 = 4 * 1024;

/// Sends to other nodes.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    node: NodeId,
    config: Arc<ClusterConfig>,
    client: Client,
    outgoing: mpsc::Sender<(NodeId, Message)>,
    claims: Store,
    figures: Arc<Figures>,
}

impl Line {
    pub(crate) fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    pub(crate) fn claims(&self) -> &Store {
        &self.claims
    }

    /// Waits while NATS takes nothing. An error says that the connection is over, which others
    /// notice, too.
    pub(crate) async fn send(&self, to: NodeId, message: Message) {
        let subject = node_subject(&self.config.name, to);
        if self.client.publish(subject, encode(self.node, &message).into()).await.is_ok() {
            self.figures.sent.one();
        }
    }

    /// Never waits: with a full queue it is lost, as on the way.
    pub(crate) fn send_now(&self, to: NodeId, message: Message) {
        if self.outgoing.try_send((to, message)).is_err() {
            self.figures.unsent.one();
        }
    }

    pub(crate) fn outgoing(&self) -> mpsc::Sender<(NodeId, Message)> {
        self.outgoing.clone()
    }

    /// This node ends.
    pub(crate) async fn goodbye(&self) -> anyhow::Result<()> {
        self.tell_all(Message::Leaving {}).await?;
        self.client.flush().await.context("cannot send")
    }

    async fn tell_all(&self, message: Message) -> anyhow::Result<()> {
        let subject = nodes_subject(&self.config.name);
        let payload = encode(self.node, &message).into();
        self.client.publish(subject, payload).await.context("cannot send")
    }

    async fn alive(&self, greet: bool) -> anyhow::Result<()> {
        self.tell_all(Message::Alive { name: self.config.node.clone(), greet }).await
    }
}

/// Keeps this node in the cluster until `stop` is done.
pub(crate) async fn run(
    cluster: Arc<Cluster>,
    rooms: Arc<Rooms>,
    rules: Rules,
    desk: Arc<Desk>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = std::pin::pin!(stop);
    let mut said = String::new();
    loop {
        let error = tokio::select! {
            biased;
            () = &mut stop => return,
            error = connect_and_serve(&cluster, &rooms, rules, &desk) => error,
        };
        let reason = format!("{error:#}");
        if cluster.alone().is_none() {
            said.clear();
        }
        // Files and what NATS says are for the log: /readyz and viewers are told the rest.
        cluster.disconnected(&error.to_string());
        // Once for each reason: an attempt a second would fill the log.
        if said == reason {
            debug!(reason, "still not in the cluster");
        } else {
            warn!(reason, "not in the cluster: cameras on other nodes can't be reached; trying on");
            said = reason;
        }
        tokio::select! {
            () = &mut stop => return,
            () = sleep(PAUSE) => {}
        }
    }
}

/// Always ends with an error, as what else would it end with.
async fn connect_and_serve(
    cluster: &Arc<Cluster>,
    rooms: &Arc<Rooms>,
    rules: Rules,
    desk: &Arc<Desk>,
) -> anyhow::Error {
    let attempt = async { Session::connect(cluster, rooms, rules, desk).await?.serve().await };
    match attempt.await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// One connection.
struct Session {
    cluster: Arc<Cluster>,
    rooms: Arc<Rooms>,
    line: Line,
    events: mpsc::Receiver<String>,
    inbox: async_nats::Subscriber,
    news: async_nats::Subscriber,
    cameras: Store,
    guests: Guests,
    ended: mpsc::Receiver<(NodeId, VisitId)>,
    /// What other nodes ask for, and what is being done of it.
    desk: Arc<Desk>,
    errands: JoinSet<()>,
    /// When this node last heard itself by way of NATS.
    echo: Instant,
    /// Ends with the session.
    tasks: JoinSet<()>,
}

impl Session {
    async fn connect(
        cluster: &Arc<Cluster>,
        rooms: &Arc<Rooms>,
        rules: Rules,
        desk: &Arc<Desk>,
    ) -> anyhow::Result<Self> {
        let config = &cluster.config;
        let (event, events) = mpsc::channel(1);
        let figures = cluster.figures.clone();
        let client = options(config)
            .await
            .context("the credentials for NATS can't be read")?
            .event_callback(move |what| {
                if matches!(what, Event::SlowConsumer(_)) {
                    figures.unread.one();
                }
                if matches!(what, Event::Disconnected | Event::Closed | Event::LameDuckMode) {
                    _ = event.try_send(what.to_string());
                }
                async {}
            })
            .connect(config.servers.clone())
            .await
            .map_err(|error| {
                // Its words are those of all its causes.
                anyhow!("{error}").context(cannot_connect(&error))
            })?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(PATIENCE);
        let claims = bucket(&context, config, "claims", StorageType::File).await?;
        let cameras = bucket(&context, config, "cameras", StorageType::Memory).await?;
        let inbox = client.subscribe(node_subject(&config.name, cluster.node)).await?;
        let news = client.subscribe(nodes_subject(&config.name)).await?;
        let (outgoing, mut waiting) = mpsc::channel(QUEUE);
        let line = Line {
            node: cluster.node,
            config: config.clone(),
            client,
            outgoing,
            claims,
            figures: cluster.figures.clone(),
        };
        let (end, ended) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let sender = line.clone();
        tasks.spawn(async move {
            while let Some((node, message)) = waiting.recv().await {
                sender.send(node, message).await;
            }
        });
        Ok(Self {
            cluster: cluster.clone(),
            rooms: rooms.clone(),
            guests: Guests::new(rooms.clone(), rules, config.remote_viewers, end),
            line,
            events,
            inbox,
            news,
            cameras,
            ended,
            echo: Instant::now(),
            desk: desk.clone(),
            errands: JoinSet::new(),
            tasks,
        })
    }

    /// Serves until the connection breaks.
    async fn serve(&mut self) -> anyhow::Result<std::convert::Infallible> {
        self.line.alive(true).await?;
        let greeting = Instant::now() + GREETING;
        while let Ok(message) = timeout_at(greeting, self.news.next()).await {
            self.hear_news(message.context("NATS ended the subscription")?).await?;
        }
        let mut claims = follow(&self.line.claims).await.context("cannot read claims")?;
        let mut cameras = follow(&self.cameras).await.context("cannot read cameras")?;
        self.cluster.connected(&self.line);
        let cluster = self.cluster.clone();
        let store = self.cameras.clone();
        self.tasks.spawn(async move { write_cameras(&cluster, &store).await });
        let (rooms, store) = (self.rooms.clone(), self.line.claims.clone());
        self.tasks.spawn(async move { claims::share(&rooms, &store).await });
        let mut beat = interval(BEAT);
        let mut check = interval(CHECK);
        loop {
            tokio::select! {
                message = self.inbox.next() => {
                    self.hear(message.context("NATS ended the subscription")?);
                }
                message = self.news.next() => {
                    self.hear_news(message.context("NATS ended the subscription")?).await?;
                }
                entry = cameras.next() => {
                    let entry = entry.context("NATS ended the list")?;
                    self.cluster.learn_camera(&entry.context("watching cameras")?);
                }
                entry = claims.next() => {
                    let entry = entry.context("NATS ended the list")?;
                    let learnt = claims::claim_of(&entry.context("watching claims")?);
                    if let Some((room, claim)) = learnt {
                        self.rooms.claims.learn(&room, claim);
                    }
                }
                Some(guest) = self.ended.recv() => self.guests.forget(guest),
                _ = beat.tick() => {
                    if self.echo.elapsed() >= SILENCE {
                        bail!("NATS does not pass messages on any more");
                    }
                    self.line.alive(false).await?;
                    for node in self.cluster.tick() {
                        self.guests.node_left(node);
                    }
                }
                _ = check.tick() => {
                    self.guests.check(&self.line);
                    self.sweep().await;
                }
                event = self.events.recv() => {
                    bail!("NATS: {}", event.unwrap_or_else(|| "closed".to_owned()));
                }
            }
        }
    }

    /// A message for this node.
    fn hear(&mut self, message: async_nats::Message) {
        let Some((node, message)) = decode(&message.payload) else {
            debug!(bytes = message.payload.len(), "not a message of a node");
            self.line.figures.unreadable.one();
            return;
        };
        self.line.figures.received.one();
        let cluster = &self.cluster;
        match message {
            Message::Watch { visit, room, token } => {
                self.guests.arrives(&self.line, node, visit, token.as_deref(), room);
            }
            Message::Said { visit, number, text } => {
                self.guests.says(&self.line, node, visit, number, &text, Instant::now());
            }
            Message::Gone { visit, quiet } => self.guests.leaves(node, visit, quiet),
            Message::Told { visit, number, text } => cluster.told(node, visit, number, text),
            Message::Ended { visit, number, error } => cluster.ended(node, visit, number, error),
            Message::NotHere { visit } => cluster.not_here(node, visit),
            Message::Check { visits } => cluster.check(node, &visits),
            Message::Errand { number, errand } => self.run_errand(node, number, errand),
            Message::Replied { number, reply } => cluster.replied(node, number, reply),
            Message::Alive { .. } | Message::Leaving {} => {}
        }
    }

    /// A message for all nodes.
    async fn hear_news(&mut self, message: async_nats::Message) -> anyhow::Result<()> {
        match decode(&message.payload) {
            Some((node, Message::Alive { name, greet })) => {
                if node == self.cluster.node {
                    self.echo = Instant::now();
                } else if greet {
                    self.line.alive(false).await?;
                }
                self.cluster.node_lives(node, &name);
            }
            Some((node, Message::Leaving {})) => {
                self.cluster.node_left(node);
                self.guests.node_left(node);
            }
            _ => {
                debug!(bytes = message.payload.len(), "not news of a node");
                self.line.figures.unreadable.one();
            }
        }
        Ok(())
    }

    /// Does what a player wants of a session here whose request came to another node.
    fn run_errand(&mut self, node: NodeId, number: u64, errand: Errand) {
        while self.errands.try_join_next().is_some() {}
        if self.errands.len() >= errands::MOST {
            return self.line.send_now(node, Message::Replied { number, reply: Reply::busy() });
        }
        let (desk, line) = (self.desk.clone(), self.line.clone());
        self.errands.spawn(async move {
            let reply = desk.answer(errand).await;
            line.send(node, Message::Replied { number, reply }).await;
        });
    }

    /// Deletes what nodes left behind that ended without a word.
    async fn sweep(&self) {
        for (room, revision) in self.cluster.orphans() {
            let deleted = self.cameras.delete_expect_revision(key(&room), Some(revision)).await;
            debug!(%room, deleted = deleted.is_ok(), "a camera of a node that is gone");
        }
    }
}

/// Why there is no connection, in words for anybody, and with the way out.
fn cannot_connect(error: &ConnectError) -> &'static str {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let tls = cause.and_then(io::Error::get_ref).is_some_and(|error| error.is::<rustls::Error>());
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "NATS does not let this node in: check credentials-file, or user and password in nats"
        }
        kind if tls || kind == ConnectErrorKind::Tls => {
            "no TLS with NATS: check ca-file, certificate-file and key-file"
        }
        _ => "cannot connect to NATS",
    }
}

/// How to connect.
async fn options(config: &ClusterConfig) -> anyhow::Result<ConnectOptions> {
    let mut options = match config.login.clone() {
        Some(Login::User(name, password)) => ConnectOptions::with_user_and_password(name, password),
        Some(Login::Token(token)) => ConnectOptions::with_token(token),
        None => ConnectOptions::new(),
    };
    if let Some(file) = &config.credentials_file {
        options = options
            .credentials_file(file)
            .await
            .with_context(|| format!("cluster: credentials-file = {:?}", file.display()))?;
    }
    if let Some(file) = &config.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &config.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options
        .name(format!("peercam-rendezvous {}", config.node))
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .ping_interval(PATIENCE)
        .subscription_capacity(QUEUE)
        .client_capacity(QUEUE)
        // Each server of the list is tried once. After a break this connection is not used again.
        .max_reconnects(config.servers.len()))
}

/// A bucket of the cluster, made by whichever node comes first.
async fn bucket(
    context: &jetstream::Context,
    config: &ClusterConfig,
    what: &str,
    storage: StorageType,
) -> anyhow::Result<Store> {
    let name = format!("{}-{what}", config.name);
    if let Ok(store) = context.get_key_value(&name).await {
        return Ok(store);
    }
    // As a bucket is laid out (ADR-8 of NATS). The client's own way to make one asks the server
    // first what Debian's does not know.
    let made = context
        .create_stream(stream::Config {
            name: format!("KV_{name}"),
            subjects: vec![format!("$KV.{name}.>")],
            max_messages_per_subject: 1,
            max_message_size: VALUE,
            storage,
            num_replicas: config.replicas,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            allow_direct: true,
            deny_delete: true,
            ..Default::default()
        })
        .await;
    // Two nodes may have made it at the same time.
    let store = context.get_key_value(&name).await;
    store.map_err(|_| made.err()).map_err(|error| {
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        anyhow!(
            "cannot make the bucket {name} (is JetStream on: nats-server --jetstream?): {error}"
        )
    })
}

/// What stands in a bucket, and then each change of it. As much is asked for as there is room for:
/// the client's own way to watch (`Store::watch`) has NATS send all of it at once, drops what is
/// more than [`QUEUE`], and asks for the rest five seconds later.
async fn follow(
    store: &Store,
) -> anyhow::Result<impl Stream<Item = anyhow::Result<Entry>> + Unpin + use<>> {
    let config = pull::OrderedConfig {
        filter_subject: format!("{}>", store.prefix),
        deliver_policy: DeliverPolicy::LastPerSubject,
        max_batch: (QUEUE / 4) as i64,
        max_expires: PATIENCE,
        ..Default::default()
    };
    let messages = store.stream.create_consumer(config).await?.messages().await?;
    let (bucket, prefix) = (store.name.clone(), store.prefix.clone());
    Ok(messages.map(move |message| entry(&bucket, &prefix, &message?)))
}

/// An entry of a bucket, as it stands in its stream (ADR-8 of NATS).
fn entry(bucket: &str, prefix: &str, message: &jetstream::Message) -> anyhow::Result<Entry> {
    let info = message.info().map_err(|error| anyhow!("{error}"))?;
    let operation = message.headers.as_ref().and_then(|headers| headers.get("KV-Operation"));
    let operation = operation.and_then(|name| name.as_str().parse().ok());
    Ok(Entry {
        bucket: bucket.to_owned(),
        key: message.subject.strip_prefix(prefix).unwrap_or_default().to_owned(),
        value: message.payload.clone(),
        revision: info.stream_sequence,
        delta: info.pending,
        created: info.published,
        operation: operation.unwrap_or(Operation::Put),
        seen_current: info.pending == 0,
    })
}

/// Writes to the bucket which cameras this node has, as they come and go.
async fn write_cameras(cluster: &Cluster, store: &Store) {
    loop {
        let rooms = cluster.unwritten(WRITES).await;
        let results = join_all(rooms.iter().map(|room| write_camera(cluster, store, room))).await;
        let mut failed = false;
        for (room, result) in rooms.into_iter().zip(results) {
            if let Err(error) = result {
                debug!(%room, "cannot write to the bucket: {error:#}");
                cluster.put_back(room);
                failed = true;
            }
        }
        if failed {
            sleep(PAUSE).await;
        }
    }
}

async fn write_camera(cluster: &Cluster, store: &Store, room: &RoomId) -> anyhow::Result<()> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match cluster.task(room, last) {
            None => return Ok(()),
            Some(Task::Delete(revision)) => {
                match timeout(PATIENCE, store.delete_expect_revision(key(room), Some(revision)))
                    .await?
                {
                    Ok(()) => return Ok(()),
                    Err(error) => debug!(%room, "not deleted: {error}"),
                }
            }
            Some(Task::Write(hosting, revision)) => {
                let value = serde_json::to_vec(&hosting)?.into();
                match timeout(PATIENCE, store.update(key(room), value, revision)).await? {
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        // Somebody else wrote: look what, and judge again.
        let entry = timeout(PATIENCE, store.entry(key(room))).await??;
        last = Some(entry.as_ref().map_or(0, |entry| entry.revision));
        if let Some(entry) = entry {
            cluster.learn_camera(&entry);
        }
    }
    bail!("others keep writing")
}

/// A room as a key of a bucket, where a dot parts tokens.
pub(crate) fn key(room: &RoomId) -> String {
    room.as_str().replace('.', "=")
}

/// Which room a key means.
pub(crate) fn room_of(key: &str) -> Option<RoomId> {
    key.replace('=', ".").parse().ok()
}

/// What an entry of the bucket of cameras says: of which room, and who has it.
pub(crate) fn camera_of(entry: &Entry) -> Option<(RoomId, Option<Hosting>)> {
    let room = room_of(&entry.key)?;
    match entry.operation {
        Operation::Put if entry.value.len() <= MAX_PAYLOAD => {
            Some((room, Some(serde_json::from_slice(&entry.value).ok()?)))
        }
        Operation::Put => None,
        Operation::Delete | Operation::Purge => Some((room, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_room_has_a_key_of_its_own() {
        for room in ["a", "front-door", "a.b", "a..b", "a.", "a_-=".trim_end_matches('=')] {
            let room: RoomId = room.parse().unwrap();
            let key = key(&room);
            assert!(!key.contains('.'), "{key}");
            assert_eq!(room_of(&key), Some(room));
        }
        assert_eq!(room_of("A"), None);
    }
}
