//! The player page, the page that asks for a room, and the files they load: all of them lie in
//! `player/` and are part of the program.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header},
    middleware::{Next, from_fn},
    response::{Html, IntoResponse},
    routing::get,
};
use sha2::{Digest, Sha256};

use crate::endpoints::room_in;

/// A file that is served as it is.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: &'static str,
}

const ASSETS: [Asset; 4] = [
    Asset {
        path: "/player.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_str!("../player/player.js"),
    },
    Asset {
        path: "/page.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_str!("../player/page.js"),
    },
    Asset {
        path: "/page.css",
        content_type: "text/css; charset=utf-8",
        body: include_str!("../player/page.css"),
    },
    Asset {
        path: "/icon.svg",
        content_type: "image/svg+xml",
        body: include_str!("../player/icon.svg"),
    },
];

/// Asks for a room.
const LANDING: &str = include_str!("../player/landing.html");

/// Plays the camera of `{{room}}`.
const PLAYER: &str = include_str!("../player/index.html");

/// Says that there is nothing at an address, and what to do.
const NOTICE: &str = "<!doctype html>
<html lang=\"en\">
<head>
  <meta charset=\"utf-8\">
  <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
  <title>peercam</title>
  <link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">
  <link rel=\"stylesheet\" href=\"/page.css\">
</head>
<body class=\"landing\">
  <main>
    <h1>No such page</h1>
    <p>{{message}}</p>
    <p><a href=\"/\">Go to a camera</a></p>
  </main>
</body>
</html>
";

/// What a page may do. Scripts, styles and signalling come from this server alone, media from
/// the script (`blob:` is what Media Source Extensions are shown as), and nothing written into
/// the page runs. Framing is allowed: people put cameras on their dashboards.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; \
     form-action 'self'";

/// What the player uses, and no more.
const PERMISSIONS_POLICY: &str = "autoplay=(self), fullscreen=(self), picture-in-picture=(self), \
     screen-wake-lock=(self), camera=(), microphone=(), display-capture=(), geolocation=(), \
     payment=(), usb=()";

/// The pages and their files.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut router = Router::new()
        .route("/", get(|| async { page(StatusCode::OK, LANDING.to_owned()) }))
        .route("/r/{*room}", get(player))
        .fallback(|| async { notice(StatusCode::NOT_FOUND, "There is nothing at this address.") });
    for Asset { path, content_type, body } in ASSETS {
        let tag = entity_tag(body);
        router = router.route(
            path,
            get(move |headers: HeaderMap| {
                let tag = tag.clone();
                async move { asset(&headers, &tag, content_type, body) }
            }),
        );
    }
    router.layer(from_fn(protect))
}

/// `GET /r/<room>`: plays the camera of a room.
async fn player(uri: Uri) -> Response<Body> {
    match room_in(&uri, "/r/") {
        Ok(room) => page(StatusCode::OK, PLAYER.replace("{{room}}", &escape(room.as_str()))),
        Err(error) => notice(StatusCode::BAD_REQUEST, &format!("{}.", error.message)),
    }
}

fn notice(status: StatusCode, message: &str) -> Response<Body> {
    page(status, NOTICE.replace("{{message}}", &escape(message)))
}

fn page(status: StatusCode, html: String) -> Response<Body> {
    (status, [(header::CACHE_CONTROL, "no-cache")], Html(html)).into_response()
}

/// A file, or the news that the browser's copy is still good (RFC 9110 §13.1.2). Its name has no
/// version in it, so browsers are told to ask each time.
fn asset(
    headers: &HeaderMap,
    tag: &str,
    content_type: &'static str,
    body: &'static str,
) -> Response<Body> {
    let known = headers.get_all(header::IF_NONE_MATCH).into_iter();
    let mut known = known.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    let fields = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache"),
        // The module may be loaded by a page of another server.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    if known.any(|item| item.trim().trim_start_matches("W/") == tag) {
        return (StatusCode::NOT_MODIFIED, fields).into_response();
    }
    (fields, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// A strong entity tag (RFC 9110 §8.8.3).
fn entity_tag(body: &str) -> Arc<str> {
    let digest = Sha256::digest(body);
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"").into()
}

/// Text as it may stand in HTML, between tags and in attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Adds to each response what keeps a browser from doing more with it than it should.
async fn protect(request: Request<Body>, next: Next) -> Response<Body> {
    let mut response = next.run(request).await;
    let fields = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_filled_in_can_become_markup() {
        assert_eq!(escape("<a b=\"c\" d='e'>&"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
    }

    #[test]
    fn every_place_for_the_room_is_known_and_filled() {
        assert!(PLAYER.contains("<peercam-player room=\"{{room}}\""));
        assert!(!PLAYER.replace("{{room}}", "x").contains("{{"));
        assert!(!LANDING.contains("{{"));
    }
}
