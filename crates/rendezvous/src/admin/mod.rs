//! The administrator's interface, on a listener of its own: an API, figures, events, and a page
//! that shows them.
//!
//! | module | holds |
//! |---|---|
//! | `api` | what can be asked and done: [`api::ROUTES`], which `openapi.json` describes |
//! | `stream` | events, as they happen |
//! | `page` | the dashboard: files that hold no secret and tell nothing |
//!
//! Everything under `/api/` and `/metrics` asks for the secret as a bearer token (RFC 6750), which
//! no page of somebody else can make a browser send. What changes something is never a GET.

use std::sync::{Arc, PoisonError, RwLock};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{
    endpoints::{Shared, healthz, readyz},
    secret::Secret,
};

mod api;
mod page;
mod stream;

/// What the dashboard may do: talk to this listener, and be seen in no other page, where somebody
/// could be made to press its buttons.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// What the interface's requests share.
#[derive(Debug)]
pub(crate) struct AdminState {
    pub(crate) shared: Arc<Shared>,
    secret: RwLock<Secret>,
}

impl AdminState {
    pub(crate) fn new(shared: Arc<Shared>, secret: Secret) -> Arc<Self> {
        Arc::new(Self { shared, secret: RwLock::new(secret) })
    }

    /// Another secret holds from now on.
    pub(crate) fn set_secret(&self, secret: Secret) {
        *self.secret.write().unwrap_or_else(PoisonError::into_inner) = secret;
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, token)) = given.and_then(|value| value.split_once(' ')) else {
            return false;
        };
        let secret = self.secret.read().unwrap_or_else(PoisonError::into_inner);
        scheme.eq_ignore_ascii_case("bearer") && secret.is(token.trim())
    }
}

/// All addresses.
pub(crate) fn router(state: Arc<AdminState>) -> Router {
    let mut guarded = Router::new();
    for route in api::ROUTES {
        guarded = guarded.route(route.path, (route.handler)());
    }
    let guarded =
        guarded.route_layer(from_fn_with_state(state.clone(), authorize)).with_state(state.clone());
    let open = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(state.shared.clone());
    guarded
        .merge(open)
        .merge(page::router())
        .fallback(async || not_there(StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(async || not_there(StatusCode::METHOD_NOT_ALLOWED))
        .layer(from_fn(protect))
}

/// What is answered where there is nothing, or not with this method.
fn not_there(status: StatusCode) -> api::Problem {
    api::Problem::new(status, "there is no such thing: /openapi.json says what there is")
}

/// Lets only those through who show the secret.
async fn authorize(
    State(state): State<Arc<AdminState>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    if state.admits(request.headers()) {
        return next.run(request).await;
    }
    state.shared.telemetry.metrics.admin_refused.one();
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"peercam admin\"")];
    let problem = api::Problem::new(
        StatusCode::UNAUTHORIZED,
        "show the secret of admin.secret-file: Authorization: Bearer SECRET",
    );
    (challenge, problem).into_response()
}

/// Adds to each response what keeps a browser from doing more with it than it should.
async fn protect(request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
