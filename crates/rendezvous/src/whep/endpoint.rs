//! The addresses of WHEP: requests, and what they are answered.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use futures_util::StreamExt;
use peercam_protocol::{
    RoomId,
    signalling::{Error, ErrorCode, IceServer, Pass, ToViewer},
};
use tokio::{sync::oneshot, time::timeout};
use tracing::debug;

use crate::{
    cluster::{Errand, NoReply, Wants},
    connection::Rules,
    door::Shown,
    endpoints::{Origin, Shared, client_address, room_in},
    outbox::Outbox,
    rate::TokenBucket,
    rooms::Visitor,
    system::nonce,
};

use super::{
    SDP_FRAGMENT,
    desk::response_of,
    problem::Problem,
    sdp::{Answer, Offer},
    session::{Session, next},
    sessions::{TokenDigest, node_of},
};

/// What stands before the room.
const PREFIX: &str = "/whep/";

/// Largest offer in bytes. A browser's has 2 to 8 KB.
const OFFER_BYTES: usize = 32 * 1024;

/// Largest fragment in bytes: a hundred candidates, and a little.
const FRAGMENT_BYTES: usize = 16 * 1024;

/// Most bytes of a body that is too large which are read and thrown away: closing a socket that
/// holds unread bytes resets it, and the player may never see why (RFC 9112 §9.6).
const DISCARDED_BYTES: usize = 1024 * 1024;

const SDP: &str = "application/sdp";

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// Players live on pages of anybody's (Fetch §3.2). Credentials in the sense of CORS are cookies,
/// which nobody has here: a token is a header that the page itself sets.
const CORS: [(HeaderName, &str); 2] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After, WWW-Authenticate",
    ),
];

/// What browsers want to know first.
const PREFLIGHT: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, PATCH, DELETE, OPTIONS"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match"),
    (header::ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// What all requests share.
struct Whep {
    shared: Arc<Shared>,
}

/// The addresses.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let whep = Arc::new(Whep { shared });
    Router::new().route("/whep/", any(serve)).route("/whep/{*path}", any(serve)).with_state(whep)
}

/// What an address names.
enum Target {
    /// Where sessions begin.
    Endpoint(RoomId),
    /// One of them.
    Session(RoomId, String),
}

impl Target {
    fn of(uri: &Uri) -> Result<Self, Error> {
        let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        match path.split_once('/') {
            None => Ok(Self::Endpoint(room_in(uri, PREFIX)?)),
            Some((room, session)) => {
                let message = || "there is no such address: /whep/ and a room".to_owned();
                let room = room.parse().map_err(|_| Error::new(ErrorCode::BadRoom, message()))?;
                Ok(Self::Session(room, session.to_owned()))
            }
        }
    }
}

async fn serve(State(whep): State<Arc<Whep>>, request: Request<Body>) -> Response {
    let response = match Target::of(request.uri()) {
        Ok(Target::Endpoint(room)) => match *request.method() {
            Method::POST => whep.post(room, request).await,
            Method::OPTIONS => Ok(options("POST, OPTIONS", ACCEPT_POST, SDP)),
            _ => {
                Err(not_allowed("POST, OPTIONS", "POST an offer here to watch this camera (WHEP)"))
            }
        },
        Ok(Target::Session(room, name)) => match *request.method() {
            Method::PATCH => whep.patch(room, name, request).await,
            Method::DELETE => {
                let token = bearer(request.headers()).map(Into::into);
                whep.run(Errand { room, session: name, token, wants: Wants::Delete {} }).await
            }
            Method::OPTIONS => Ok(options("PATCH, DELETE, OPTIONS", ACCEPT_PATCH, SDP_FRAGMENT)),
            _ => Err(not_allowed(
                "PATCH, DELETE, OPTIONS",
                "this is a session: PATCH it with candidates, or DELETE it",
            )),
        },
        Err(error) => Err(error.into()),
    };
    let mut response = response.unwrap_or_else(|problem| {
        debug!(status = problem.status.as_u16(), "a WHEP request was refused");
        problem.into_response()
    });
    for (name, value) in CORS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Whep {
    /// A player wants to watch.
    async fn post(&self, room: RoomId, request: Request<Body>) -> Result<Response, Problem> {
        let shared = &self.shared;
        let ice_bytes = shared.rooms.settings().ice_servers.renewed_bytes();
        let config = shared.config();
        let rules = Rules::for_viewer(&config.limits, config.liveness, ice_bytes);
        must_be(SDP, ACCEPT_POST, request.headers())?;
        let token = bearer(request.headers());
        let origin = request.extensions().get::<Origin>();
        let address = origin.and_then(|origin| client_address(&config, origin, request.headers()));
        let permit = shared.websockets.enter(address)?;
        let offer = self.read(request, OFFER_BYTES).await?;
        let bad = |problem| Problem::new(StatusCode::BAD_REQUEST, problem);
        let offer = Offer::parse(offer).map_err(bad)?;

        let outbox = Arc::new(Outbox::new(rules.queue_bytes));
        let shown = Shown::new(token.as_deref()).map_err(Error::from)?;
        let seat = shared.rooms.watch(room.clone(), &outbox, Visitor { shown, address })?;
        let ice_servers = welcome(&outbox, &room).await?;
        let digest = TokenDigest::of(token.as_deref());
        let (place, commands) =
            shared.desk.sessions.enter(room.clone(), digest).ok_or_else(no_random)?;
        let pass = match token {
            Some(token) => {
                let nonce = nonce().ok_or_else(no_random)?;
                Some(Pass { nonce, token: Some(token), signature: None })
            }
            None => None,
        };
        let location = format!("{PREFIX}{room}/{}", place.name());
        let limits = &config.limits;
        let pace = TokenBucket::new(
            f64::from(limits.viewer_messages_per_second),
            limits.viewer_message_burst,
            std::time::Instant::now(),
        );
        let session = Session {
            seat,
            outbox,
            offer,
            commands,
            pace,
            message_bytes: rules.message_bytes,
            _place: place,
            _permit: permit,
        };
        let (answered, answer) = oneshot::channel();
        shared.tasks.spawn(session.run(pass, answered));
        let answer = answer.await.map_err(|_| Problem::no_session())??;
        Ok(created(&answer, &location, &ice_servers))
    }

    /// A player has candidates, or restarts ICE.
    async fn patch(
        &self,
        room: RoomId,
        session: String,
        request: Request<Body>,
    ) -> Result<Response, Problem> {
        must_be(SDP_FRAGMENT, ACCEPT_PATCH, request.headers())?;
        let (token, tags) = (bearer(request.headers()), tags(request.headers()));
        let fragment = self.read(request, FRAGMENT_BYTES).await?;
        let wants = Wants::Patch { tags, fragment };
        self.run(Errand { room, session, token: token.map(Into::into), wants }).await
    }

    /// What a player wants of its session, which may be at another node.
    async fn run(&self, errand: Errand) -> Result<Response, Problem> {
        let Shared { desk, cluster, .. } = &*self.shared;
        let node = node_of(&errand.session);
        let elsewhere = cluster.as_ref().zip(node).filter(|(it, node)| it.node() != *node);
        match elsewhere {
            Some((cluster, node)) => match cluster.ask(node, errand).await {
                Ok(reply) => Ok(response_of(reply)),
                Err(NoReply::Gone) => Err(Problem::no_session()),
                Err(NoReply::Unreachable(reason)) => Err(Problem::unreachable(&reason)),
            },
            None => desk.carry_out(errand).await,
        }
    }

    /// The body of a request.
    async fn read(&self, request: Request<Body>, most: usize) -> Result<String, Problem> {
        let limit = Duration::from_secs(self.shared.config().limits.request_seconds);
        let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly");
        let body = timeout(limit, collect(request.into_body(), most)).await.map_err(late)??;
        String::from_utf8(body)
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8"))
    }
}

/// A body of at most `most` bytes.
async fn collect(body: Body, most: usize) -> Result<Vec<u8>, Problem> {
    let mut stream = body.into_data_stream();
    let mut body = Vec::new();
    let mut size = 0;
    while let Some(chunk) = stream.next().await {
        let broken = |_| Problem::new(StatusCode::BAD_REQUEST, "the body ends before its end");
        let chunk = chunk.map_err(broken)?;
        size += chunk.len();
        if size <= most {
            body.extend_from_slice(&chunk);
        } else if size > most + DISCARDED_BYTES {
            break;
        }
    }
    if size <= most {
        return Ok(body);
    }
    let message = format!("the body has more than {most} bytes: the limit");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message))
}

/// What a viewer is told first: the ICE servers, where the camera is there.
async fn welcome(outbox: &Outbox, room: &RoomId) -> Result<Vec<IceServer>, Problem> {
    match next(outbox).await? {
        ToViewer::Welcome { online: true, ice_servers, .. } => Ok(ice_servers),
        ToViewer::Error { error } => Err(error.into()),
        _ => {
            let message = format!("no camera is in the room {:?} now: try again", room.as_str());
            Err(Error::new(ErrorCode::CameraOffline, message).into())
        }
    }
}

fn no_random() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server has no random numbers: see its log")
}

/// 201 with the answer.
fn created(answer: &Answer, location: &str, ice_servers: &[IceServer]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, SDP),
        (header::LOCATION, location),
        (header::ETAG, &Session::first_tag()),
        (ACCEPT_PATCH, SDP_FRAGMENT),
    ];
    let mut response = (StatusCode::CREATED, headers, answer.with_candidates()).into_response();
    for link in ice_servers.iter().flat_map(links) {
        // What can't stand in a header can't be an ICE server's either.
        if let Ok(link) = HeaderValue::try_from(link) {
            response.headers_mut().append(header::LINK, link);
        }
    }
    response
}

/// An ICE server as links (RFC 9725 §4.6), one for each of its addresses.
fn links(server: &IceServer) -> impl Iterator<Item = String> {
    let IceServer { urls, username, credential } = server;
    let mut parameters = "; rel=\"ice-server\"".to_owned();
    if let (Some(username), Some(credential)) = (username, credential) {
        let (username, credential) = (quoted(username), quoted(credential));
        parameters += &format!(
            "; username={username}; credential={credential}; credential-type=\"password\""
        );
    }
    urls.iter().map(move |url| format!("<{url}>{parameters}"))
}

/// A quoted string (RFC 9110 §5.6.4).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// 200 to OPTIONS.
fn options(allow: &'static str, accept: HeaderName, media_type: &'static str) -> Response {
    let mut response = [(header::ALLOW, allow), (accept, media_type)].into_response();
    for (name, value) in PREFLIGHT {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn not_allowed(allow: &'static str, message: &str) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, message)
        .with(header::ALLOW, HeaderValue::from_static(allow))
}

/// The media type of a body, whatever its parameters.
fn must_be(
    media_type: &'static str,
    accept: HeaderName,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let given = given.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if given.eq_ignore_ascii_case(media_type) {
        return Ok(());
    }
    let message = format!("the Content-Type is {given:?}: it must be {media_type}");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
        .with(accept, HeaderValue::from_static(media_type)))
}

/// The token in `Authorization: Bearer …` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// The entity tags of `If-Match`.
fn tags(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::IF_MATCH).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        // A tag of ours has no comma.
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().to_owned())
        .filter(|tag| !tag.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::session::Condition, *};

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let lines = lines.iter().cloned();
        lines.map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn an_ice_server_is_a_link_for_each_address() {
        let server = IceServer {
            urls: vec![
                "turn:a.example:3478?transport=udp".to_owned(),
                "turns:a.example".to_owned(),
            ],
            username: Some("1700000000:x".to_owned()),
            credential: Some("a\"b\\c".to_owned()),
        };
        let links: Vec<_> = links(&server).collect();
        let rest = "; rel=\"ice-server\"; username=\"1700000000:x\"; \
                    credential=\"a\\\"b\\\\c\"; credential-type=\"password\"";
        assert_eq!(links[0], format!("<turn:a.example:3478?transport=udp>{rest}"));
        assert_eq!(links[1], format!("<turns:a.example>{rest}"));
    }

    #[test]
    fn tokens_and_conditions_are_read_as_http_writes_them() {
        let token = |value| bearer(&headers(&[(header::AUTHORIZATION, value)]));
        assert_eq!(token("Bearer a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(token("bearer  a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(token("Basic dTpw"), None);
        assert_eq!(token("Bearer"), None);
        let of = |value| Condition::of(tags(&headers(&[(header::IF_MATCH, value)])));
        assert_eq!(of("*"), Condition::Any);
        let both = vec!["\"0\"".to_owned(), "W/\"1\"".to_owned()];
        assert_eq!(of("\"0\", W/\"1\""), Condition::OneOf(both));
        assert_eq!(of(""), Condition::Unsaid);
    }
}
