//! The dashboard and the API's description: files that are part of the program and hold no secret.

use axum::{Router, http::header, response::IntoResponse, routing::get};

/// The API as OpenAPI 3.1.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// Address, content type, text.
const FILES: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", include_str!("dashboard.html")),
    ("/dashboard.js", "text/javascript; charset=utf-8", include_str!("dashboard.js")),
    ("/dashboard.css", "text/css; charset=utf-8", include_str!("dashboard.css")),
    ("/page.css", "text/css; charset=utf-8", include_str!("../../player/page.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../../player/icon.svg")),
    ("/openapi.json", "application/json", OPENAPI),
];

pub(super) fn router() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
        router.route(path, get(move || async move { (headers, text).into_response() }))
    })
}
