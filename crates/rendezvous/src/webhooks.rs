//! Events posted to other servers, signed, and tried again where that fails.
//!
//! Each webhook has a task that delivers one event after the other. What waits for it is what the
//! event stream keeps for a slow listener; when that is too much the oldest are given up, and
//! counted. The server itself waits for none of it, but for two seconds at its end.
//!
//! A delivery is a POST with the event as JSON, and these headers:
//!
//! | header | value |
//! |---|---|
//! | `peercam-event` | the event's type |
//! | `peercam-delivery` | its number; the same when it is tried again |
//! | `peercam-signature` | `t=<unix time>,v1=<hex>`: HMAC-SHA256 over `<unix time>.<body>` |
//!
//! Any answer from 200 to 299 says that it has arrived. What fails is said in the log when it begins
//! to, when the reason becomes another one, and when an event is given up.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    http::{Request, Uri, header, uri::Scheme},
};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{
        broadcast::{Receiver, error::RecvError, error::TryRecvError},
        watch,
    },
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use crate::{
    config::Webhook,
    events::Notice,
    secret::{Secret, SecretError},
    system::unix_time,
    telemetry::Telemetry,
    trust::{self, TrustError},
};

/// For one attempt: to connect, to send, to be answered.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Pause after the first failure; twice as long after each further one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Attempts before an event is given up: ten minutes, about.
const ATTEMPTS: u32 = 15;

/// Why a webhook can't be served.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Its secret is of no use.
    #[error("webhooks: {0}")]
    Secret(#[from] SecretError),
    /// Its authority is of no use.
    #[error("webhooks: {0}")]
    Authority(#[from] TrustError),
}

/// All webhooks of the server.
#[derive(Debug)]
pub(crate) struct Webhooks {
    telemetry: Arc<Telemetry>,
    running: Mutex<Vec<Running>>,
    /// Set when the server ends: deliver what waits, wait for nothing new, try nothing again.
    ending: watch::Sender<bool>,
}

#[derive(Debug)]
struct Running {
    config: Webhook,
    target: watch::Sender<Arc<Target>>,
    task: JoinHandle<()>,
}

/// A webhook that is ready to be served.
#[derive(Debug)]
pub(crate) struct Hook {
    config: Webhook,
    target: Target,
}

impl Hook {
    /// Reads its files.
    pub(crate) fn load(config: &Webhook) -> Result<Self, WebhookError> {
        Ok(Self { config: config.clone(), target: Target::load(config)? })
    }
}

impl Webhooks {
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> Self {
        let running = Mutex::default();
        Self { telemetry, running, ending: watch::Sender::new(false) }
    }

    /// Serves these from now on, and no others. One that was served before goes on with what waits
    /// for it, with what its files say now.
    pub(crate) fn serve(&self, hooks: Vec<Hook>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut former = std::mem::take(&mut *running);
        for Hook { config, target } in hooks {
            let target = Arc::new(target);
            if let Some(nth) = former.iter().position(|one| one.config == config) {
                let same = former.swap_remove(nth);
                same.target.send_replace(target);
                running.push(same);
                continue;
            }
            let (sender, target) = watch::channel(target);
            let worker = Worker {
                receiver: self.telemetry.events.subscribe(None).receiver,
                telemetry: self.telemetry.clone(),
                ending: self.ending.subscribe(),
                config: config.clone(),
                target,
                failing: None,
            };
            running.push(Running { config, target: sender, task: tokio::spawn(worker.run()) });
        }
        for gone in former {
            gone.task.abort();
        }
    }

    /// Delivers what waits, within `patience`.
    pub(crate) async fn finish(&self, patience: Duration) {
        self.ending.send_replace(true);
        let running =
            std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async {
            for Running { task, target: _kept, .. } in running {
                _ = task.await;
            }
        };
        if timeout(patience, all).await.is_err() {
            warn!("a webhook was not told of the last events");
        }
    }
}

/// Where a webhook's events go.
#[derive(Debug)]
struct Target {
    url: Uri,
    secret: Secret,
    tls: Option<Arc<ClientConfig>>,
}

struct Worker {
    receiver: Receiver<Arc<Notice>>,
    telemetry: Arc<Telemetry>,
    ending: watch::Receiver<bool>,
    config: Webhook,
    target: watch::Receiver<Arc<Target>>,
    /// Why the last attempt was in vain: said once.
    failing: Option<String>,
}

impl Worker {
    async fn run(mut self) {
        while let Some(notice) = self.next().await {
            let wanted = &self.config.events;
            if wanted.is_empty() || wanted.contains(&notice.kind) {
                self.deliver(&notice).await;
            }
        }
    }

    /// The next event; none when the server ends and nothing waits any more.
    async fn next(&mut self) -> Option<Arc<Notice>> {
        loop {
            let heard = match self.receiver.try_recv() {
                Ok(notice) => Ok(notice),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => tokio::select! {
                    heard = self.receiver.recv() => heard,
                    _ = self.ending.wait_for(|&ending| ending) => return None,
                },
            };
            match heard {
                Ok(notice) => return Some(notice),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(missed)) => {
                    self.telemetry.metrics.webhooks_dropped.add(missed);
                    warn!(host = self.host(), missed, "a webhook is too slow: events are lost");
                }
            }
        }
    }

    /// Delivers an event, or gives it up in the end.
    async fn deliver(&mut self, notice: &Notice) {
        let metrics = &self.telemetry.metrics;
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            attempts += 1;
            let target = self.target.borrow().clone();
            let reason = match timeout(ATTEMPT, target.post(notice)).await {
                Ok(Ok(())) => {
                    metrics.webhooks_delivered.one();
                    if self.failing.take().is_some() {
                        info!(host = self.host(), "a webhook works again");
                    }
                    return;
                }
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {} s", ATTEMPT.as_secs()),
            };
            metrics.webhooks_failed.one();
            if self.failing.as_ref() != Some(&reason) {
                warn!(host = self.host(), reason, "a webhook fails: trying again");
                self.failing = Some(reason);
            }
            if attempts == ATTEMPTS {
                break;
            }
            let mut ending = self.ending.clone();
            tokio::select! {
                () = sleep(pause) => {}
                _ = ending.wait_for(|&ending| ending) => break,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        metrics.webhooks_dropped.one();
        let (event, kind) = (notice.id, notice.kind.name());
        warn!(host = self.host(), event, kind, attempts, "a webhook was not told: given up");
    }

    /// What stands for it in the log: a secret may be part of the path.
    fn host(&self) -> &str {
        self.config.url.host().unwrap_or_default()
    }
}

/// What carries a request.
trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Carrier for T {}

impl Target {
    fn load(config: &Webhook) -> Result<Self, WebhookError> {
        let secret = Secret::load(&config.secret_file)?;
        let secure = config.url.scheme() == Some(&Scheme::HTTPS);
        let tls = secure.then(|| trust::client_config(config.ca.as_deref())).transpose()?;
        Ok(Self { url: config.url.clone(), secret, tls })
    }

    /// One attempt; what went wrong, in words.
    async fn post(&self, notice: &Notice) -> Result<(), String> {
        let words = |error: &dyn std::error::Error| error.to_string();
        let host = self.url.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((name, port)).await.map_err(|error| words(&error))?;
        let carrier: Box<dyn Carrier> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let server =
                    ServerName::try_from(name.to_owned()).map_err(|error| words(&error))?;
                let secure = TlsConnector::from(tls.clone()).connect(server, stream).await;
                Box::new(secure.map_err(|error| trust::explain(&error, name, "webhooks.ca"))?)
            }
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(carrier)).await.map_err(|error| words(&error))?;
        let request = self.request(notice).map_err(|error| words(&error))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| words(&error))?;
            let status = response.status();
            if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
        };
        let mut answer = std::pin::pin!(answer);
        // The connection is good for one delivery: there are few, and seldom.
        tokio::select! {
            biased;
            answer = answer.as_mut() => return answer,
            ended = connection => ended.map_err(|error| words(&error))?,
        }
        // It ended in order; the answer may have come with its end.
        answer.await
    }

    fn request(&self, notice: &Notice) -> Result<Request<Body>, axum::http::Error> {
        let time = unix_time().as_secs().to_string();
        let code = self.secret.sign(&[time.as_bytes(), b".", notice.text.as_bytes()]);
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let body = Body::from(notice.text.clone());
        let length = body.size_hint().exact().unwrap_or_default();
        Request::post(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("peercam-rendezvous/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, length)
            .header(header::CONNECTION, "close")
            .header("peercam-event", notice.kind.name())
            .header("peercam-delivery", notice.id)
            .header("peercam-signature", format!("t={time},v1={code}"))
            .body(body)
    }
}
