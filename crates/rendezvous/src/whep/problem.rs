//! What speaks against a request, as an HTTP status and a sentence.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use peercam_protocol::signalling::{Error, ErrorCode};

/// After how many seconds it is worth to try again, where nothing better is known.
const TRY_AGAIN: u16 = 5;

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Problem {
    pub status: StatusCode,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// With a sentence for the person behind the player.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), header: None }
    }

    /// With a header that says the way out.
    pub fn with(self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        Self { header: Some((name, value.into())), ..self }
    }

    fn try_again(self) -> Self {
        self.with(header::RETRY_AFTER, TRY_AGAIN)
    }

    /// With the challenge of RFC 6750 §3.
    fn challenge(self, error: Option<&str>) -> Self {
        let mut value = "Bearer realm=\"peercam\"".to_owned();
        if let Some(error) = error {
            let says = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
            let description: String = self.message.chars().filter(says).collect();
            value += &format!(", error=\"{error}\", error_description=\"{description}\"");
        }
        match HeaderValue::try_from(value) {
            Ok(value) => self.with(header::WWW_AUTHENTICATE, value),
            Err(_) => self,
        }
    }

    /// There is no such session, or not any more.
    pub fn no_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such session: it has ended; POST a new offer")
    }

    /// The session is at another node of the cluster, which does not answer.
    pub fn unreachable(reason: &str) -> Self {
        let message = format!("the session's server can't be reached now ({reason}): try again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).try_again()
    }

    /// The player does not show the token that his session began with.
    pub fn not_the_sessions_token() -> Self {
        let message = "the session began with another token: show that one";
        Self::new(StatusCode::UNAUTHORIZED, message).challenge(Some("invalid_token"))
    }

    /// More than the player may ask for in a time.
    pub fn too_fast() -> Self {
        let message = "too many requests for one session: try again in a moment";
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).try_again()
    }

    /// The camera is there and does not answer.
    pub fn no_answer() -> Self {
        let message = "the camera does not answer: try again in a moment";
        Self::new(StatusCode::GATEWAY_TIMEOUT, message).try_again()
    }
}

impl From<Error> for Problem {
    /// What the room or the camera says, in the words it says it.
    fn from(Error { code, message }: Error) -> Self {
        use ErrorCode as E;
        let status = match code {
            E::TokenMissing
            | E::TokenInvalid
            | E::TokenExpired
            | E::TokenNotYetValid
            | E::TokenUsed
            | E::TokenRevoked => StatusCode::UNAUTHORIZED,
            E::TokenForAnotherRoom | E::TokenNotYours | E::NotAllowed => StatusCode::FORBIDDEN,
            E::BadRoom | E::SessionGone => StatusCode::NOT_FOUND,
            // draft-ietf-wish-whep §4.2: nobody publishes at the moment.
            E::CameraOffline => StatusCode::CONFLICT,
            E::OutOfOrder | E::BadMessage => StatusCode::CONFLICT,
            E::BadOffer => StatusCode::UNPROCESSABLE_ENTITY,
            E::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            E::TooFast => StatusCode::TOO_MANY_REQUESTS,
            E::Full | E::MediaUnavailable | E::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        let problem = Self::new(status, message);
        match (status, code) {
            // RFC 6750 §3.1: who shows nothing is told no error.
            (_, E::TokenMissing) => problem.challenge(None),
            (StatusCode::UNAUTHORIZED, _) => problem.challenge(Some("invalid_token")),
            (StatusCode::FORBIDDEN, _) => problem.challenge(Some("insufficient_scope")),
            (_, E::CameraOffline)
            | (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _) => {
                problem.try_again()
            }
            _ => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.message + "\n").into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_holds_nothing_that_breaks_a_header() {
        let error = Error::new(ErrorCode::TokenInvalid, "the \"token\" is\r\nd\u{e4}maged \\");
        let problem = Problem::from(error);
        assert_eq!(problem.status, StatusCode::UNAUTHORIZED);
        let (name, value) = problem.header.unwrap();
        assert_eq!(name, header::WWW_AUTHENTICATE);
        let expected = "Bearer realm=\"peercam\", error=\"invalid_token\", \
                        error_description=\"the token isdmaged \"";
        assert_eq!(value, expected);
    }
}
