//! A standard player without a browser: HTTP to the rendezvous, and a connection to the camera.

use std::net::SocketAddr;

use peercam_protocol::signalling::{FromViewer, Transport};
use rtc::peer_connection::sdp::RTCSessionDescription;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    PATIENCE, ViewerOptions,
    viewer::{Outgoing, Peer, Received, plays_on, until},
};

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Reply {
    /// All values of a header.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// The value of a header that must be there, once.
    pub fn header(&self, name: &str) -> &str {
        let values = self.headers(name);
        let [value] = values[..] else { panic!("{name}: {values:?}\n{}", self.head) };
        value
    }
}

/// One request; `headers` are whole lines.
pub async fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Reply {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let mut reply = String::new();
    let exchange = async {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_string(&mut reply).await.unwrap();
    };
    timeout(PATIENCE, exchange).await.expect("a reply");
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{reply:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

/// The header that shows a token (RFC 6750 §2.1).
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A player that watches.
pub struct Player {
    server: SocketAddr,
    /// What it shows with each request.
    authorization: String,
    peer: Peer,
    /// The 201.
    pub created: Reply,
}

impl Player {
    /// Offers; the reply where that is not 201.
    pub async fn watch(server: SocketAddr, room: &str, authorization: &str) -> Result<Self, Reply> {
        let options = ViewerOptions { control: false, ..ViewerOptions::new(Transport::Rtp) };
        let mut peer = Peer::new(&options).await;
        let offer = peer.connection.create_offer(None).await.unwrap();
        let headers = format!("Content-Type: application/sdp\r\n{authorization}");
        let created = request(server, "POST", &format!("/whep/{room}"), &headers, &offer.sdp).await;
        if created.status != 201 {
            return Err(created);
        }
        let sdp = offer.sdp.clone();
        peer.connection.set_local_description(offer).await.unwrap();
        let answer = RTCSessionDescription::answer(created.body.clone()).unwrap();
        peer.connection.set_remote_description(answer).await.unwrap();
        let candidate = timeout(PATIENCE, peer.outbox.recv()).await.expect("a candidate");
        let Some(Outgoing::Say(FromViewer::Candidate { candidate })) = candidate else {
            panic!("no candidate");
        };
        let authorization = authorization.to_owned();
        let player = Self { server, authorization, peer, created };
        let own = |what: &str| sdp.lines().find(|line| line.starts_with(what)).unwrap();
        let [user, password, mid] = ["a=ice-ufrag:", "a=ice-pwd:", "a=mid:"].map(own);
        let candidate = candidate.candidate;
        let fragment = format!(
            "{user}\r\n{password}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\n{mid}\r\na={candidate}\r\n"
        );
        let headers = format!(
            "Content-Type: application/trickle-ice-sdpfrag\r\nIf-Match: {}\r\n",
            player.created.header("etag")
        );
        let patched = player.asks("PATCH", &headers, &fragment).await;
        assert_eq!(patched.status, 204, "{patched:?}");
        Ok(player)
    }

    /// Where the session is.
    pub fn location(&self) -> &str {
        self.created.header("location")
    }

    async fn asks(&self, method: &str, headers: &str, body: &str) -> Reply {
        let headers = format!("{headers}{}", self.authorization);
        request(self.server, method, self.location(), &headers, body).await
    }

    /// Asks to end the session.
    pub async fn delete(&self) -> Reply {
        self.asks("DELETE", "", "").await
    }

    pub async fn until(&self, what: &str, enough: impl Fn(&Received) -> bool) -> Received {
        until(&self.peer.received, what, enough).await
    }

    /// Waits for more pictures.
    pub async fn plays_on(&self) {
        plays_on(&self.peer.received).await;
    }
}
