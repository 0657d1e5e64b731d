//! The connections of the control socket.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    file::{Listener, Rights},
    messages::{Answer, MAX_REQUEST, Request},
};

/// Connections at once.
const MAX_CONNECTIONS: usize = 8;
/// Requests that wait for the agent's loop.
const MAX_WAITING: usize = 8;
/// A connection on which nothing is asked for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// For the agent to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// For the other end to read an answer.
const WRITE: Duration = Duration::from_secs(5);
/// Pause after the system could not hand out a connection.
const TROUBLE: Duration = Duration::from_millis(500);

/// A request, and the way its answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    reply: oneshot::Sender<Answer>,
}

impl Asked {
    /// Answers. Who asked may be gone: then nobody hears it.
    pub fn answer(self, answer: Answer) {
        drop(self.reply.send(answer));
    }
}

/// The socket in service. Dropping it ends all connections and removes the socket's file.
#[derive(Debug)]
pub struct Server {
    requests: mpsc::Receiver<Asked>,
    task: JoinHandle<()>,
    _listener: Listener,
}

impl Server {
    /// Begins to serve.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn start(listener: Listener) -> io::Result<Self> {
        let socket = UnixListener::from_std(listener.socket()?)?;
        let (sender, requests) = mpsc::channel(MAX_WAITING);
        let task = tokio::spawn(accept(socket, listener.path().to_owned(), sender));
        Ok(Self { requests, task, _listener: listener })
    }

    /// The next request. Cancel safe.
    pub async fn next(&mut self) -> Option<Asked> {
        self.requests.recv().await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(socket: UnixListener, path: PathBuf, agent: mpsc::Sender<Asked>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("the control socket: {error}");
                tokio::time::sleep(TROUBLE).await;
                continue;
            }
        };
        if let Err(refusal) = admit(&stream, &path) {
            refuse(&stream, refusal);
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            let words = format!("{MAX_CONNECTIONS} programs talk to the agent: try again later");
            refuse(&stream, words);
            continue;
        };
        let agent = agent.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = converse(stream, &agent) => {
                    if let Err(error) = ended {
                        debug!("a connection to the control socket: {error}");
                    }
                }
                () = agent.closed() => {}
            }
            drop(place);
        });
    }
}

/// An error says in words why not.
fn admit(stream: &UnixStream, path: &Path) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| error.to_string())?;
    let rights = Rights::of(path).map_err(|error| error.to_string())?;
    if rights.admit(peer.uid(), peer.gid()) {
        return Ok(());
    }
    debug!("user {} was turned away from the control socket", peer.uid());
    Err("only root, the agent's own user and the group of the control socket may ask".to_owned())
}

/// Says so, and closes. A fresh connection has room for one line.
fn refuse(stream: &UnixStream, words: String) {
    drop(stream.try_write(line(&Answer::failure(words)).as_bytes()));
}

fn line(answer: &Answer) -> String {
    let mut text = serde_json::to_string(answer).unwrap_or_default();
    text.push('\n');
    text
}

/// Requests and answers, until the other end has enough.
async fn converse(stream: UnixStream, agent: &mpsc::Sender<Asked>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(4096, reader);
    let mut text = Vec::new();
    loop {
        text.clear();
        let mut bounded = (&mut reader).take(MAX_REQUEST as u64 + 1);
        let Ok(read) = timeout(IDLE, bounded.read_until(b'\n', &mut text)).await else {
            return Ok(());
        };
        if read? == 0 {
            return Ok(());
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let too_long = text.len() > MAX_REQUEST;
        let answer = match too_long {
            true => Answer::failure(format!("a request has at most {MAX_REQUEST} bytes")),
            false => ask(&text, agent).await,
        };
        let answer = line(&answer);
        timeout(WRITE, writer.write_all(answer.as_bytes()))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if too_long {
            return Ok(());
        }
    }
}

async fn ask(text: &[u8], agent: &mpsc::Sender<Asked>) -> Answer {
    let request = match Request::parse(text) {
        Ok(request) => request,
        Err(problem) => return Answer::failure(problem),
    };
    let (reply, answer) = oneshot::channel();
    let asking = async {
        agent.send(Asked { request, reply }).await.ok()?;
        answer.await.ok()
    };
    match timeout(ANSWER, asking).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Answer::failure("the agent is stopping"),
        Err(_) => Answer::failure("the agent is too busy to answer: try again"),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    async fn start(folder: &TempDir) -> (Server, std::path::PathBuf) {
        let path = folder.path().join("control.sock");
        (Server::start(Listener::bind(&path).unwrap()).unwrap(), path)
    }

    /// An agent that says "yes" to everything.
    fn obey(mut server: Server) -> JoinHandle<()> {
        tokio::spawn(async move {
            while let Some(asked) = server.next().await {
                asked.answer(Answer::success("yes", ()));
            }
        })
    }

    async fn exchange(stream: &mut BufReader<UnixStream>, text: &str) -> Answer {
        stream.write_all(text.as_bytes()).await.unwrap();
        read(stream).await.expect("an answer")
    }

    async fn read(stream: &mut BufReader<UnixStream>) -> Option<Answer> {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    async fn connect(path: &Path) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(path).await.unwrap())
    }

    #[tokio::test]
    async fn each_line_is_answered_in_order_and_nonsense_ends_nothing() {
        let folder = TempDir::new().unwrap();
        let (server, path) = start(&folder).await;
        let _agent = obey(server);
        let mut stream = connect(&path).await;
        let two = "{\"command\":\"status\"}\n\n{\"command\":\"status\"}\n";
        assert!(exchange(&mut stream, two).await.is_success());
        assert!(read(&mut stream).await.unwrap().is_success());
        for nonsense in ["hello\n", "{}\n", "[1]\n", "{\"command\":\"explode\"}\n"] {
            let answer = exchange(&mut stream, nonsense).await;
            assert!(!answer.is_success() && answer.description.contains("no request"));
        }
        stream.write_all(b"\xff\xfe\n").await.unwrap();
        assert!(!read(&mut stream).await.unwrap().is_success());
        assert!(exchange(&mut stream, "{\"command\":\"status\"}\n").await.is_success());
    }

    #[tokio::test]
    async fn a_request_without_end_is_refused() {
        let folder = TempDir::new().unwrap();
        let (server, path) = start(&folder).await;
        let _agent = obey(server);
        let mut stream = connect(&path).await;
        let answer = exchange(&mut stream, &"x".repeat(MAX_REQUEST + 1)).await;
        assert!(answer.description.contains("16384"), "{answer:?}");
        assert_eq!(read(&mut stream).await, None);
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_so_and_the_others_go_on() {
        let folder = TempDir::new().unwrap();
        let (server, path) = start(&folder).await;
        let _agent = obey(server);
        let mut streams = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = connect(&path).await;
            assert!(exchange(&mut stream, "{\"command\":\"status\"}\n").await.is_success());
            streams.push(stream);
        }
        let mut one_more = connect(&path).await;
        let answer = read(&mut one_more).await.unwrap();
        assert!(!answer.is_success() && answer.description.contains("try again"), "{answer:?}");
        for stream in &mut streams {
            assert!(exchange(stream, "{\"command\":\"status\"}\n").await.is_success());
        }
        streams.pop();
        let admitted = async {
            loop {
                let mut stream = connect(&path).await;
                let _ = stream.write_all(b"{\"command\":\"status\"}\n").await;
                if read(&mut stream).await.is_some_and(|answer| answer.is_success()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), admitted).await.expect("a place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_is_let_go_and_an_agent_that_hangs_is_reported() {
        let folder = TempDir::new().unwrap();
        let (server, path) = start(&folder).await;
        let mut silent = connect(&path).await;
        assert_eq!(read(&mut silent).await, None);
        let mut stream = connect(&path).await;
        let answer = exchange(&mut stream, "{\"command\":\"status\"}\n").await;
        assert!(answer.description.contains("busy"), "{answer:?}");
        drop(server);
        assert!(!path.exists());
        assert_eq!(read(&mut stream).await, None);
    }
}
