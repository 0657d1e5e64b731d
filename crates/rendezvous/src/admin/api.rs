//! What an administrator can ask and do.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{Response, StatusCode, Uri, header},
    response::IntoResponse,
    routing::{MethodRouter, delete, get, post},
};
use peercam_protocol::RoomId;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;
use tracing::{info, warn};

use super::{AdminState, stream};
use crate::{
    claims::Claim,
    endpoints::metrics_page,
    hosting::Tenant,
    room::{RoomView, ViewerId},
};

/// Most rooms in one answer.
const PAGE: usize = 1000;

/// An address of the interface, and what is done there.
pub(super) struct Route {
    /// As axum and OpenAPI both write it.
    pub(super) path: &'static str,
    /// In small letters, as OpenAPI writes it.
    #[cfg_attr(not(test), expect(dead_code, reason = "what the document is compared with"))]
    pub(super) method: &'static str,
    pub(super) handler: fn() -> MethodRouter<Arc<AdminState>>,
}

/// All that ask for the secret.
pub(super) const ROUTES: &[Route] = &[
    Route { path: "/metrics", method: "get", handler: || get(metrics) },
    Route { path: "/api/v1/status", method: "get", handler: || get(status) },
    Route { path: "/api/v1/rooms", method: "get", handler: || get(rooms) },
    Route { path: "/api/v1/rooms/{room}", method: "get", handler: || get(room) },
    Route {
        path: "/api/v1/rooms/{room}/camera",
        method: "delete",
        handler: || delete(kick_camera),
    },
    Route {
        path: "/api/v1/rooms/{room}/viewers/{viewer}",
        method: "delete",
        handler: || delete(kick_viewer),
    },
    Route { path: "/api/v1/cameras", method: "get", handler: || get(cameras) },
    Route { path: "/api/v1/viewers", method: "get", handler: || get(viewers) },
    Route { path: "/api/v1/tokens", method: "get", handler: || get(tokens) },
    Route { path: "/api/v1/claims", method: "get", handler: || get(claims) },
    Route { path: "/api/v1/claims/{room}", method: "delete", handler: || delete(release) },
    Route { path: "/api/v1/events", method: "get", handler: || get(stream::events) },
    Route { path: "/api/v1/drain", method: "post", handler: || post(drain) },
];

type Admin = State<Arc<AdminState>>;

type Outcome = Result<Response<Body>, Problem>;

/// What is wrong with a request.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        answer(self.status, &json!({ "message": self.message }))
    }
}

async fn metrics(State(admin): Admin) -> Response<Body> {
    metrics_page(&admin.shared)
}

/// What the server is and how it does.
async fn status(State(admin): Admin) -> Response<Body> {
    let shared = &admin.shared;
    let moment = shared.moment();
    answer(
        StatusCode::OK,
        &json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started": shared.telemetry.metrics.started,
            "ready": moment.ready,
            "draining": moment.draining,
            "rooms": moment.census.rooms,
            "cameras": moment.census.cameras,
            "viewers": moment.census.viewers,
            "sessions": moment.census.sessions,
            "websockets": moment.websockets,
        }),
    )
}

/// Rooms in the order of their names, a page of them.
async fn rooms(State(admin): Admin, uri: Uri) -> Outcome {
    let (rooms, next) = list(&admin, &uri)?;
    Ok(answer(StatusCode::OK, &json!({ "rooms": rooms, "next": next })))
}

/// The same, those with a camera.
async fn cameras(State(admin): Admin, uri: Uri) -> Outcome {
    let (rooms, next) = list(&admin, &uri)?;
    let cameras: Vec<_> = rooms
        .into_iter()
        .filter_map(|RoomView { room, camera, viewers }| {
            let mut view = serde_json::to_value(camera?).ok()?;
            view["room"] = json!(room);
            view["viewers"] = json!(viewers.len());
            Some(view)
        })
        .collect();
    Ok(answer(StatusCode::OK, &json!({ "cameras": cameras, "next": next })))
}

/// The same, their viewers.
async fn viewers(State(admin): Admin, uri: Uri) -> Outcome {
    let (rooms, next) = list(&admin, &uri)?;
    let viewers: Vec<_> = rooms
        .into_iter()
        .flat_map(|RoomView { room, viewers, .. }| {
            viewers.into_iter().filter_map(move |viewer| {
                let mut view = serde_json::to_value(viewer).ok()?;
                view["room"] = json!(room);
                Some(view)
            })
        })
        .collect();
    Ok(answer(StatusCode::OK, &json!({ "viewers": viewers, "next": next })))
}

/// The names of the tokens that let these viewers in.
async fn tokens(State(admin): Admin, uri: Uri) -> Outcome {
    let (rooms, next) = list(&admin, &uri)?;
    let mut counts = BTreeMap::<_, usize>::new();
    for RoomView { room, viewers, .. } in rooms {
        for token in viewers.into_iter().filter_map(|viewer| viewer.token) {
            *counts.entry((room.clone(), token)).or_default() += 1;
        }
    }
    let tokens: Vec<_> = counts
        .into_iter()
        .map(|((room, token), viewers)| json!({ "token": token, "room": room, "viewers": viewers }))
        .collect();
    Ok(answer(StatusCode::OK, &json!({ "tokens": tokens, "next": next })))
}

/// Named rooms in order, a page of them.
async fn claims(State(admin): Admin, uri: Uri) -> Outcome {
    let (after, limit) = page(&uri)?;
    let mut claims = admin.shared.rooms.claims.list(after.as_ref(), limit + 1);
    let more = claims.len() > limit;
    claims.truncate(limit);
    let next = claims.last().filter(|_| more).map(|(room, _)| room.clone());
    let claims: Vec<_> = claims
        .into_iter()
        .map(|(room, claim)| {
            let Claim { tenant: Tenant { key, door, .. }, since } = claim;
            json!({ "room": room, "key": key, "door": door, "since": since * 1000 })
        })
        .collect();
    Ok(answer(StatusCode::OK, &json!({ "claims": claims, "next": next })))
}

async fn release(State(admin): Admin, Path(room): Path<String>) -> Outcome {
    let room = room_id(&room)?;
    match admin.shared.rooms.claims.release(&room).await {
        Ok(true) => {
            info!(%room, "the administrator gives a claimed room up");
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Ok(false) => Err(Problem::new(StatusCode::NOT_FOUND, "nobody claimed this room")),
        Err(error) => {
            warn!(%room, %error, "a claim could not be removed");
            let message = "the claim could not be removed from where it is kept: see the log";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, message))
        }
    }
}

async fn room(State(admin): Admin, Path(room): Path<String>) -> Outcome {
    let room = room_id(&room)?;
    match admin.shared.rooms.view(&room) {
        Some(view) => Ok(answer(StatusCode::OK, &view)),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "nobody is in this room")),
    }
}

async fn kick_camera(State(admin): Admin, Path(room): Path<String>) -> Outcome {
    let room = room_id(&room)?;
    if !admin.shared.rooms.kick_camera(&room) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no camera is in this room"));
    }
    info!(%room, "the administrator sends the camera away");
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn kick_viewer(State(admin): Admin, Path((room, viewer)): Path<(String, String)>) -> Outcome {
    let room = room_id(&room)?;
    let viewer: u64 = viewer.parse().map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "a viewer is a number: see /api/v1/viewers")
    })?;
    if !admin.shared.rooms.kick_viewer(&room, ViewerId(viewer)) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no such viewer is in this room"));
    }
    info!(%room, viewer, "the administrator sends a viewer away");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// As SIGTERM does.
async fn drain(State(admin): Admin) -> Response<Body> {
    info!("the administrator asks for the end");
    admin.shared.control.drain();
    answer(StatusCode::ACCEPTED, &json!({ "draining": true }))
}

/// A page of rooms as the query asks for it, and after which room the next one begins.
fn list(admin: &AdminState, uri: &Uri) -> Result<(Vec<RoomView>, Option<RoomId>), Problem> {
    let (after, limit) = page(uri)?;
    let (rooms, more) = admin.shared.rooms.list(after.as_ref(), limit);
    let next = rooms.last().filter(|_| more).map(|last| last.room.clone());
    Ok((rooms, next))
}

/// Which page the query asks for: `after` which room, and `limit`, how many at most.
fn page(uri: &Uri) -> Result<(Option<RoomId>, usize), Problem> {
    let after = parameter(uri, "after").map(|name| room_id(&name)).transpose()?;
    let limit = match parameter(uri, "limit") {
        None => PAGE,
        Some(text) => match text.parse() {
            Ok(limit) if (1..=PAGE).contains(&limit) => limit,
            _ => {
                let message = format!("limit: use 1 to {PAGE}");
                return Err(Problem::new(StatusCode::BAD_REQUEST, message));
            }
        },
    };
    Ok((after, limit))
}

/// A value of the query.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

fn room_id(name: &str) -> Result<RoomId, Problem> {
    name.parse::<RoomId>().map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    // Views and literals: nothing in them can fail to be written.
    let text = serde_json::to_string(body).unwrap_or_default();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_document_describes_these_routes_and_no_others() {
        let document: Value = serde_json::from_str(super::super::page::OPENAPI).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                assert!(operation["summary"].is_string(), "{method} {path} says nothing");
                assert!(operation["responses"].is_object(), "{method} {path} answers nothing");
                // What needs no secret says so.
                if operation["security"].as_array().is_none_or(|list| !list.is_empty()) {
                    assert!(operation["responses"]["401"].is_object(), "{method} {path}");
                    described.insert((path.clone(), method.clone()));
                }
                let named = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
                for name in named {
                    let parameters = item["parameters"].as_array().unwrap();
                    assert!(parameters.iter().any(|one| one["name"] == name), "{path}: {name}");
                }
            }
        }
        let routes = ROUTES.iter().map(|route| (route.path.to_owned(), route.method.to_owned()));
        assert_eq!(described, routes.collect());
    }
}
