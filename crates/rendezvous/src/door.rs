//! Whether a viewer may come in, as far as the rendezvous can tell: the camera decides in the end.

use peercam_protocol::{
    Action, RoomId, Token, TokenError, signalling::Door, token::MAX_TOKEN_SIZE,
};

use crate::hosting::Tenant;

/// A viewer's token as he shows it, of a size that may be kept.
#[derive(Clone)]
pub(crate) struct Shown(Option<Box<str>>);

impl Shown {
    /// # Errors
    ///
    /// What is larger than any token.
    pub(crate) fn new(token: Option<&str>) -> Result<Self, TokenError> {
        match token {
            Some(token) if token.len() > MAX_TOKEN_SIZE => Err(TokenError::TooLong(token.len())),
            token => Ok(Self(token.map(Into::into))),
        }
    }
}

impl Shown {
    /// The token as it was shown.
    pub(crate) fn token(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Shown(hidden)" } else { "Shown(nothing)" })
    }
}

/// Opens the tenant's door to who shows this, or says why not. `now` is in seconds after 1970.
/// Returns the token's name (`jti`), where one was asked for.
pub(crate) fn open(
    tenant: &Tenant,
    room: &RoomId,
    shown: &Shown,
    now: u64,
) -> Result<Option<Box<str>>, TokenError> {
    if tenant.door == Door::Open {
        return Ok(None);
    }
    let token = Token::parse(shown.0.as_deref().ok_or(TokenError::Missing)?)?;
    let claims = token.verify(&tenant.key, &tenant.issuers, room, now)?;
    if !claims.scope.contains(&Action::Watch) {
        return Err(TokenError::Action(Action::Watch));
    }
    Ok(Some(claims.jti.as_str().into()))
}
