//! What the camera remembers of its tokens: which it shared, which were taken back, and which were
//! for a single session that they had.
//!
//! Each list holds [`MAX_ENTRIES`]. What has expired makes room only when a list is full: time may
//! turn out to be earlier than it was thought to be, and nothing that was taken back may come to
//! life by that. Of what was shared, what was revoked makes room then, too. What had its single
//! session does not before it has expired: who came by it may still watch, and is cut off by its
//! name.

use std::collections::BTreeSet;

use peercam_protocol::{Action, Claims, RoomId, TokenError, token::LEEWAY};
use serde::{Deserialize, Serialize};

/// Most entries of each list.
pub const MAX_ENTRIES: usize = 1000;
/// Longest label of a share, in characters.
pub const MAX_LABEL: usize = 64;

/// A token that the camera made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Share {
    /// By which it can be revoked.
    pub id: String,
    /// What its owner calls it; several may have the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The room it opens.
    pub room: RoomId,
    /// What the viewer may do.
    pub actions: BTreeSet<Action>,
    /// When it was made, in seconds after 1970.
    pub made: u64,
    /// From when on it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// From when on it is not.
    pub expires: u64,
    /// Good for a single session.
    pub once: bool,
    /// Bound to no key.
    pub bearer: bool,
}

/// What has become of a [`Share`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShareState {
    /// It opens the door.
    Good,
    /// It will.
    NotYet,
    /// Its time is over.
    Expired,
    /// It had its single session.
    Used,
    /// It was taken back.
    Revoked,
}

/// A share and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The token.
    #[serde(flatten)]
    pub share: Share,
    /// What has become of it.
    pub state: ShareState,
}

impl Listed {
    /// Whether it opens the door, now or later.
    fn opens(&self) -> bool {
        matches!(self.state, ShareState::Good | ShareState::NotYet)
    }

    /// Whether nobody can watch by it any more. Its single session may go on until it expires.
    fn is_over(&self) -> bool {
        matches!(self.state, ShareState::Revoked | ShareState::Expired)
    }
}

/// What was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// So many tokens that this camera shared.
    Shares(usize),
    /// None that it shared has this id or label. A token with this id that an owner's key signed
    /// is not taken any more.
    Unknown,
}

/// Something does not fit in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// [`MAX_ENTRIES`] are in one of the lists, and still count.
    #[error(
        "the camera remembers {MAX_ENTRIES} {0} that have not expired, and can't keep more in \
         mind: revoke all, and share anew"
    )]
    Full(&'static str),
    /// Not what tokens are named.
    #[error("a token's id or label has 1 to {MAX_LABEL} characters, all of them printable")]
    Name,
}

/// The whole of it, as it stands in its file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Book {
    /// What was made at this second or before is revoked.
    revoked_until: u64,
    used: Vec<Mark>,
    revoked: Vec<Mark>,
    shares: Vec<Share>,
}

/// A token by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    id: String,
    /// When it expires, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    /// When it was made, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<u64>,
}

impl Book {
    /// Whether a token was taken back.
    pub fn is_revoked(&self, id: &str, made: u64) -> bool {
        made <= self.revoked_until || self.revoked.iter().any(|mark| mark.id == id)
    }

    /// Whether a token that is right may be used now.
    ///
    /// # Errors
    ///
    /// [`TokenError::Revoked`] and [`TokenError::Used`].
    pub fn check(&self, claims: &Claims) -> Result<(), TokenError> {
        if self.is_revoked(&claims.jti, claims.iat) {
            return Err(TokenError::Revoked);
        }
        if claims.once && self.is_used(&claims.jti) {
            return Err(TokenError::Used);
        }
        Ok(())
    }

    fn is_used(&self, id: &str) -> bool {
        self.used.iter().any(|mark| mark.id == id)
    }

    /// The token's single session begins.
    ///
    /// # Errors
    ///
    /// When no more can be remembered.
    pub fn use_up(&mut self, claims: &Claims, now: u64) -> Result<(), BookError> {
        // No later than what the file's format can say.
        let [until, made] = [claims.exp, claims.iat].map(|at| Some(at.min(i64::MAX as u64)));
        make_room(&mut self.used, "single-use tokens", now, |mark| mark.until)?;
        self.used.push(Mark { id: claims.jti.clone(), until, made });
        Ok(())
    }

    /// A token was made, for this room.
    ///
    /// # Errors
    ///
    /// A label that is none, or too many shares.
    pub fn note(
        &mut self,
        claims: &Claims,
        room: &RoomId,
        label: Option<String>,
        now: u64,
    ) -> Result<(), BookError> {
        if label.as_deref().is_some_and(|label| !is_name(label)) {
            return Err(BookError::Name);
        }
        if self.shares.len() >= MAX_ENTRIES {
            // What lets nobody in and has nobody in; that it was revoked is written elsewhere.
            let over = self.list(now).into_iter().filter(Listed::is_over);
            let over: BTreeSet<_> = over.map(|listed| listed.share.id).collect();
            self.shares.retain(|share| !over.contains(&share.id));
        }
        if self.shares.len() >= MAX_ENTRIES {
            return Err(BookError::Full("shared links"));
        }
        self.shares.push(Share {
            id: claims.jti.clone(),
            label,
            room: room.clone(),
            actions: claims.scope.clone(),
            made: claims.iat,
            not_before: claims.nbf,
            expires: claims.exp,
            once: claims.once,
            bearer: claims.cnf.is_none(),
        });
        Ok(())
    }

    /// A token was made, and given to nobody.
    pub fn forget(&mut self, id: &str) {
        self.shares.retain(|share| share.id != id);
    }

    /// When a token has to have been made at least, for it not to be revoked.
    pub fn earliest(&self) -> u64 {
        self.revoked_until.saturating_add(1)
    }

    /// Takes back the token with this id, or the shares with this label.
    ///
    /// # Errors
    ///
    /// A name that is none, or too many revocations.
    pub fn revoke(&mut self, name: &str, now: u64) -> Result<Revoked, BookError> {
        if !is_name(name) {
            return Err(BookError::Name);
        }
        let mut found: Vec<Mark> = self
            .shares
            .iter()
            .filter(|share| share.id == name || share.label.as_deref() == Some(name))
            .map(|share| Mark {
                id: share.id.clone(),
                until: Some(share.expires),
                made: Some(share.made),
            })
            .collect();
        let outcome = match found.len() {
            0 => Revoked::Unknown,
            shares => Revoked::Shares(shares),
        };
        if found.is_empty() {
            found.push(Mark { id: name.to_owned(), until: None, made: None });
        }
        for mark in found {
            if !self.revoked.iter().any(|revoked| revoked.id == mark.id) {
                make_room(&mut self.revoked, "revoked tokens", now, |mark| mark.until)?;
                self.revoked.push(mark);
            }
        }
        Ok(outcome)
    }

    /// Takes back all that was made up to `now`, by whomever. How many shares were good before.
    pub fn revoke_all(&mut self, now: u64) -> usize {
        let count = self.list(now).iter().filter(|listed| listed.opens()).count();
        // A share may be a little ahead of the clock, see `earliest`.
        let latest = self.shares.iter().map(|share| share.made).max().unwrap_or(0);
        self.revoked_until = self.revoked_until.max(now).max(latest);
        // What these say is said by the line above.
        let said = |mark: &Mark| mark.made.is_some_and(|made| made <= self.revoked_until);
        self.used.retain(|mark| !said(mark));
        self.revoked.retain(|mark| !said(mark));
        // Those that an owner's key signed are most likely among it; but its clock may have been
        // ahead of ours. There is room for more afterwards.
        let surplus = self.revoked.len().saturating_sub(MAX_ENTRIES / 2);
        self.revoked.drain(..surplus);
        count
    }

    /// What was shared and what has become of it, the latest first.
    pub fn list(&self, now: u64) -> Vec<Listed> {
        let state = |share: &Share| {
            if self.is_revoked(&share.id, share.made) {
                ShareState::Revoked
            } else if now >= share.expires.saturating_add(LEEWAY) {
                ShareState::Expired
            } else if share.once && self.is_used(&share.id) {
                ShareState::Used
            } else if share.not_before.is_some_and(|from| now.saturating_add(LEEWAY) < from) {
                ShareState::NotYet
            } else {
                ShareState::Good
            }
        };
        let listed = |share: &Share| Listed { state: state(share), share: share.clone() };
        self.shares.iter().rev().map(listed).collect()
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_LABEL).contains(&text.chars().count()) && !text.contains(char::is_control)
}

/// Room for one more in a list of `what`: of those that have expired the oldest go.
fn make_room<T>(
    list: &mut Vec<T>,
    what: &'static str,
    now: u64,
    until: impl Fn(&T) -> Option<u64>,
) -> Result<(), BookError> {
    if list.len() >= MAX_ENTRIES {
        list.retain(|entry| until(entry).is_none_or(|until| now < until.saturating_add(LEEWAY)));
    }
    if list.len() >= MAX_ENTRIES {
        return Err(BookError::Full(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn room() -> RoomId {
        "garden".parse().unwrap()
    }

    fn claims(id: &str) -> Claims {
        Claims {
            iss: None,
            room: Some(room()),
            scope: BTreeSet::from([Action::Watch]),
            iat: NOW,
            nbf: None,
            exp: NOW + 3600,
            jti: id.to_owned(),
            once: false,
            cnf: None,
        }
    }

    #[test]
    fn a_token_is_revoked_by_its_id_or_by_its_label() {
        let mut book = Book::default();
        for (id, label) in [("a", Some("kids")), ("b", Some("kids")), ("c", None)] {
            book.note(&claims(id), &room(), label.map(str::to_owned), NOW).unwrap();
        }
        assert_eq!(book.revoke("c", NOW), Ok(Revoked::Shares(1)));
        assert_eq!(book.check(&claims("c")), Err(TokenError::Revoked));
        assert_eq!(book.check(&claims("a")), Ok(()));
        assert_eq!(book.revoke("kids", NOW), Ok(Revoked::Shares(2)));
        assert_eq!(book.check(&claims("a")), Err(TokenError::Revoked));
        // One that an owner's key signed.
        assert_eq!(book.revoke("d", NOW), Ok(Revoked::Unknown));
        assert_eq!(book.check(&claims("d")), Err(TokenError::Revoked));
        for name in ["", "a\nb", &"x".repeat(65)] {
            assert_eq!(book.revoke(name, NOW), Err(BookError::Name));
        }
    }

    #[test]
    fn all_that_was_made_before_is_revoked_and_nothing_after() {
        let mut book = Book::default();
        book.note(&claims("a"), &room(), None, NOW).unwrap();
        assert_eq!(book.revoke_all(NOW), 1);
        assert_eq!(book.check(&claims("a")), Err(TokenError::Revoked));
        assert_eq!(book.check(&claims("an owner's")), Err(TokenError::Revoked));
        let next = Claims { iat: book.earliest(), ..claims("b") };
        assert_eq!(book.check(&next), Ok(()));
        book.note(&next, &room(), None, NOW).unwrap();
        // Within the same second, and by a clock that went back.
        assert_eq!(book.revoke_all(NOW - 5), 1);
        assert_eq!(book.check(&next), Err(TokenError::Revoked));
    }

    #[test]
    fn a_single_use_is_a_single_use() {
        let mut book = Book::default();
        let once = Claims { once: true, ..claims("a") };
        assert_eq!(book.check(&once), Ok(()));
        book.use_up(&once, NOW).unwrap();
        assert_eq!(book.check(&once), Err(TokenError::Used));
        assert_eq!(book.check(&Claims { once: true, ..claims("b") }), Ok(()));
    }

    #[test]
    fn the_list_says_what_has_become_of_each() {
        let mut book = Book::default();
        let once = Claims { once: true, ..claims("used") };
        let later = Claims { nbf: Some(NOW + 600), ..claims("later") };
        let short = Claims { exp: NOW + 1, ..claims("short") };
        for claims in [&once, &later, &short, &claims("revoked"), &claims("good")] {
            book.note(claims, &room(), None, NOW).unwrap();
        }
        book.use_up(&once, NOW).unwrap();
        book.revoke("revoked", NOW).unwrap();
        let list = book.list(NOW + 100);
        let states: Vec<_> =
            list.iter().map(|listed| (listed.share.id.as_str(), listed.state)).collect();
        use ShareState as S;
        let expected = [
            ("good", S::Good),
            ("revoked", S::Revoked),
            ("short", S::Expired),
            ("later", S::NotYet),
            ("used", S::Used),
        ];
        assert_eq!(states, expected);
    }

    #[test]
    fn lists_are_bounded_and_only_what_has_expired_makes_room() {
        let mut book = Book::default();
        for nth in 0..MAX_ENTRIES {
            let once = Claims { exp: NOW + 3600 + (nth as u64 % 2), ..claims(&nth.to_string()) };
            book.use_up(&once, NOW).unwrap();
            book.note(&once, &room(), None, NOW).unwrap();
            book.revoke(&nth.to_string(), NOW).unwrap();
        }
        let more = claims("more");
        assert!(matches!(book.use_up(&more, NOW), Err(BookError::Full(_))));
        assert!(matches!(book.revoke("more", NOW), Err(BookError::Full(_))));
        let expired = NOW + 3600 + LEEWAY;
        book.use_up(&more, expired).unwrap();
        book.note(&more, &room(), None, expired).unwrap();
        book.revoke("more", expired).unwrap();
        assert_eq!(book.used.len(), MAX_ENTRIES / 2 + 1);
        // The way out that the error names.
        for nth in 0..MAX_ENTRIES {
            let _ = book.revoke(&format!("unknown {nth}"), NOW);
        }
        assert!(matches!(book.revoke("yet another", NOW), Err(BookError::Full(_))));
        book.revoke_all(expired);
        book.revoke("yet another", NOW).unwrap();
    }

    #[test]
    fn what_was_used_can_be_revoked_by_its_label_however_many_come_after() {
        let mut book = Book::default();
        let once = Claims { once: true, ..claims("used") };
        book.note(&once, &room(), Some("plumber".to_owned()), NOW).unwrap();
        book.use_up(&once, NOW).unwrap();
        for nth in 0..MAX_ENTRIES - 1 {
            let short = Claims { exp: NOW + 1, ..claims(&nth.to_string()) };
            book.note(&short, &room(), None, NOW).unwrap();
        }
        let later = NOW + 1 + LEEWAY;
        book.note(&claims("more"), &room(), None, later).unwrap();
        assert_eq!(book.list(later).len(), 2);
        // Its session may run.
        assert_eq!(book.revoke("plumber", later), Ok(Revoked::Shares(1)));
        assert!(book.is_revoked("used", NOW));
    }

    #[test]
    fn what_was_used_makes_room_when_it_has_expired() {
        let mut book = Book::default();
        for nth in 0..MAX_ENTRIES {
            let once = Claims { once: true, ..claims(&nth.to_string()) };
            book.note(&once, &room(), None, NOW).unwrap();
            book.use_up(&once, NOW).unwrap();
        }
        let more = Claims { exp: NOW + 7200, ..claims("more") };
        assert!(matches!(book.note(&more, &room(), None, NOW), Err(BookError::Full(_))));
        book.note(&more, &room(), None, NOW + 3600 + LEEWAY).unwrap();
        assert_eq!(book.list(NOW).len(), 1);
    }

    #[test]
    fn full_lists_have_room_after_all_was_revoked() {
        let mut book = Book::default();
        for nth in 0..MAX_ENTRIES {
            let once = Claims { once: true, ..claims(&nth.to_string()) };
            book.note(&once, &room(), None, NOW).unwrap();
            book.use_up(&Claims { jti: format!("owner's {nth}"), ..once }, NOW).unwrap();
        }
        let more = Claims { once: true, iat: NOW + 1, ..claims("more") };
        assert!(matches!(book.note(&more, &room(), None, NOW), Err(BookError::Full(_))));
        assert!(matches!(book.use_up(&more, NOW), Err(BookError::Full(_))));
        // One that is over is enough for the next one, and stays over.
        book.revoke("7", NOW).unwrap();
        book.note(&more, &room(), None, NOW).unwrap();
        assert_eq!(book.check(&claims("7")), Err(TokenError::Revoked));
        assert_eq!(book.list(NOW).len(), MAX_ENTRIES);

        assert_eq!(book.revoke_all(NOW), MAX_ENTRIES);
        let next = Claims { iat: book.earliest(), ..more };
        book.note(&next, &room(), None, NOW).unwrap();
        assert_eq!(book.list(NOW).len(), 1);
        book.use_up(&next, NOW).unwrap();
        assert_eq!(book.check(&next), Err(TokenError::Used));
        assert_eq!(book.check(&claims("owner's 1")), Err(TokenError::Revoked));
    }

    #[test]
    fn what_was_revoked_by_its_name_stays_so_whatever_its_makers_clock_said() {
        let mut book = Book::default();
        let ahead = Claims { iat: NOW + LEEWAY / 2, once: true, ..claims("an owner's") };
        book.revoke("an owner's", NOW).unwrap();
        let used = Claims { jti: "used".to_owned(), ..ahead.clone() };
        book.use_up(&used, NOW).unwrap();
        book.revoke_all(NOW);
        assert_eq!(book.check(&ahead), Err(TokenError::Revoked));
        assert_eq!(book.check(&used), Err(TokenError::Used));
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut book = Book::default();
        let eternal = Claims { exp: u64::MAX, once: true, ..claims("a") };
        book.use_up(&eternal, NOW).unwrap();
        book.note(&claims("b"), &room(), Some("the \"neighbours\"".to_owned()), NOW).unwrap();
        book.revoke("c", NOW).unwrap();
        let text = toml::to_string(&book).unwrap();
        assert_eq!(toml::from_str::<Book>(&text).unwrap(), book, "{text}");
        assert_eq!(toml::from_str::<Book>("").unwrap(), Book::default());
        assert!(toml::from_str::<Book>("later = 1").is_err());
    }
}
