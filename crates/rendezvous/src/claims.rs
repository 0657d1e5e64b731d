//! Whose a named room is: the first key that hosts it has it from then on.
//!
//! All claims are in memory, so that a viewer's token can be judged at once, and before the
//! camera is there. A [`Keeper`] makes them outlive the process: the embedded store
//! ([`crate::state`]), or one that several servers share. Without one they end with it.
//!
//! A room that is derived from a key needs no claim: nobody else can have it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures_util::future::BoxFuture;
use peercam_protocol::{
    PublicKey, RoomId,
    signalling::{Error, ErrorCode},
};
use serde::{Deserialize, Serialize};
use tracing::{error, info};

use crate::{config::Limits, hosting::Tenant, rate::AddressRates};

/// Whose a room is, and what the camera said about it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    #[serde(flatten)]
    pub(crate) tenant: Tenant,
    /// When the key hosted it first, in seconds after 1970.
    pub(crate) since: u64,
}

/// Where claims outlive the process.
pub(crate) trait Keeper: fmt::Debug + Send + Sync {
    /// Keeps the claim, unless another key has the room by now. Returns whose it is.
    fn put<'a>(
        &'a self,
        room: &'a RoomId,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Claim, KeeperError>>;

    /// Forgets the room's claim, if there is one.
    fn remove<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<(), KeeperError>>;
}

/// Why a claim could not be kept, in words for the server's operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct KeeperError(pub(crate) String);

/// All claims.
#[derive(Debug)]
pub(crate) struct Claims {
    known: Mutex<Known>,
    /// One change at a time, so that limits hold.
    changing: tokio::sync::Mutex<()>,
    keeper: Option<Box<dyn Keeper>>,
    /// How often one address may change what is kept.
    changes: AddressRates,
}

#[derive(Debug, Default)]
struct Known {
    by_room: BTreeMap<RoomId, Claim>,
    rooms_of: HashMap<PublicKey, usize>,
}

impl Known {
    fn set(&mut self, room: &RoomId, claim: Option<Claim>) {
        if let Some(claim) = &claim {
            *self.rooms_of.entry(claim.tenant.key).or_default() += 1;
        }
        let former = match claim {
            Some(claim) => self.by_room.insert(room.clone(), claim),
            None => self.by_room.remove(room),
        };
        let Some(former) = former else { return };
        if let Some(count) = self.rooms_of.get_mut(&former.tenant.key) {
            *count -= 1;
            if *count == 0 {
                self.rooms_of.remove(&former.tenant.key);
            }
        }
    }
}

impl Claims {
    /// Those that are known, and where later ones are kept.
    pub(crate) fn new(
        known: impl IntoIterator<Item = (RoomId, Claim)>,
        keeper: Option<Box<dyn Keeper>>,
        limits: &Limits,
    ) -> Self {
        let claims = Self {
            known: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            keeper,
            changes: AddressRates::new(limits.claims_per_address_per_hour, 3600.0),
        };
        for (room, claim) in known {
            claims.learn(&room, Some(claim));
        }
        claims
    }

    /// Whose the room is, as far as this server knows.
    pub(crate) fn of(&self, room: &RoomId) -> Option<Claim> {
        self.lock().by_room.get(room).cloned()
    }

    /// What another server did: the room is somebody's now, or nobody's.
    pub(crate) fn learn(&self, room: &RoomId, claim: Option<Claim>) {
        self.lock().set(room, claim);
    }

    /// At most `limit` of them, in the order of the rooms' names, behind the room `after`.
    pub(crate) fn list(&self, after: Option<&RoomId>, limit: usize) -> Vec<(RoomId, Claim)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.lock();
        let range = known.by_room.range::<RoomId, _>((from, Bound::Unbounded)).take(limit);
        range.map(|(room, claim)| (room.clone(), claim.clone())).collect()
    }

    /// Makes the room the tenant's, or sees that it is, and remembers what it says about it. `now`
    /// is in seconds after 1970; `address` is whose rate of changes counts.
    ///
    /// # Errors
    ///
    /// Where the room is another key's, a limit is reached, or the claim can't be kept.
    pub(crate) async fn claim(
        &self,
        room: &RoomId,
        tenant: &Tenant,
        address: Option<IpAddr>,
        limits: &Limits,
        now: u64,
    ) -> Result<(), Error> {
        if room.is_derived() || self.is_as_said(room, tenant)? {
            return Ok(());
        }
        if !self.changes.take(address, Instant::now()) {
            return Err(Error::new(
                ErrorCode::TooFast,
                format!(
                    "your address has made or changed more than {} claims to rooms in an hour, \
                     the limit: try again later",
                    limits.claims_per_address_per_hour
                ),
            ));
        }
        let _changing = self.changing.lock().await;
        let since = self.may_have(room, tenant, limits)?;
        let claim = Claim { tenant: tenant.clone(), since: since.unwrap_or(now) };
        let holder = match &self.keeper {
            Some(keeper) => keeper.put(room, &claim).await.map_err(|error| {
                error!(%room, %error, "a claim could not be kept");
                // A camera that tries until storage is there again must not be over its limit then.
                self.changes.give_back(address);
                not_kept()
            })?,
            None => claim,
        };
        let is_ours = holder.tenant.key == tenant.key;
        self.learn(room, Some(holder));
        if !is_ours {
            return Err(claimed(room));
        }
        if since.is_none() {
            info!(%room, "a room was claimed");
        }
        Ok(())
    }

    /// Makes the room nobody's. Returns whether it was somebody's.
    pub(crate) async fn release(&self, room: &RoomId) -> Result<bool, KeeperError> {
        let _changing = self.changing.lock().await;
        if let Some(keeper) = &self.keeper {
            keeper.remove(room).await?;
        }
        let mut known = self.lock();
        let had = known.by_room.contains_key(room);
        known.set(room, None);
        Ok(had)
    }

    /// Whether the room is the tenant's already, who says nothing new about it.
    fn is_as_said(&self, room: &RoomId, tenant: &Tenant) -> Result<bool, Error> {
        match self.lock().by_room.get(room) {
            Some(claim) if claim.tenant.key != tenant.key => Err(claimed(room)),
            Some(claim) => Ok(claim.tenant == *tenant),
            None => Ok(false),
        }
    }

    /// Whether the tenant may have the room; since when it has, if it does already.
    fn may_have(
        &self,
        room: &RoomId,
        tenant: &Tenant,
        limits: &Limits,
    ) -> Result<Option<u64>, Error> {
        let known = self.lock();
        if let Some(claim) = known.by_room.get(room) {
            let is_ours = claim.tenant.key == tenant.key;
            return if is_ours { Ok(Some(claim.since)) } else { Err(claimed(room)) };
        }
        let own = known.rooms_of.get(&tenant.key).copied().unwrap_or_default();
        if own >= limits.rooms_per_key {
            return Err(Error::new(
                ErrorCode::Full,
                format!(
                    "this key has {own} named rooms, the limit: use one of them, or the room \
                     that is derived from the key"
                ),
            ));
        }
        if known.by_room.len() >= limits.claims {
            return Err(Error::new(
                ErrorCode::Full,
                format!(
                    "{} named rooms are claimed on this server, its limit: use the room that is \
                     derived from the key",
                    known.by_room.len()
                ),
            ));
        }
        Ok(None)
    }

    /// A panic elsewhere leaves no half-done change behind.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn claimed(room: &RoomId) -> Error {
    Error::new(
        ErrorCode::RoomClaimed,
        format!(
            "the room {:?} belongs to the key of another camera: choose another name, or have \
             the server's operator release it",
            room.as_str()
        ),
    )
}

fn not_kept() -> Error {
    Error::new(
        ErrorCode::Full,
        "the server can't keep the claim to this room now (its log says why): try again later",
    )
}

#[cfg(test)]
mod tests {
    use peercam_protocol::{SecretKey, signalling::Door};

    use super::*;

    fn tenant(seed: u8) -> Tenant {
        let key = SecretKey::from_bytes(&[seed; 32]).public();
        Tenant { key, door: Door::Open, issuers: Vec::new() }
    }

    fn room(name: &str) -> RoomId {
        name.parse().unwrap()
    }

    async fn claim(
        claims: &Claims,
        name: &str,
        seed: u8,
        limits: &Limits,
    ) -> Result<(), ErrorCode> {
        let claimed = claims.claim(&room(name), &tenant(seed), None, limits, 7).await;
        claimed.map_err(|error| error.code)
    }

    #[tokio::test]
    async fn the_first_key_has_the_room_until_it_is_released() {
        let limits = Limits::default();
        let claims = Claims::new([], None, &limits);
        claim(&claims, "a", 1, &limits).await.unwrap();
        claim(&claims, "a", 1, &limits).await.unwrap();
        assert_eq!(claim(&claims, "a", 2, &limits).await, Err(ErrorCode::RoomClaimed));
        assert!(claims.release(&room("a")).await.unwrap());
        assert!(!claims.release(&room("a")).await.unwrap());
        claim(&claims, "a", 2, &limits).await.unwrap();
        assert_eq!(claims.of(&room("a")).unwrap().tenant, tenant(2));
        assert_eq!(claims.lock().rooms_of.len(), 1);
    }

    #[tokio::test]
    async fn what_a_camera_says_about_its_room_is_remembered() {
        let limits = Limits { rooms_per_key: 1, claims: 1, ..Limits::default() };
        let claims = Claims::new([], None, &limits);
        claim(&claims, "a", 1, &limits).await.unwrap();
        let said = Tenant { door: Door::Token, ..tenant(1) };
        claims.claim(&room("a"), &said, None, &limits, 9).await.unwrap();
        assert_eq!(claims.of(&room("a")), Some(Claim { tenant: said, since: 7 }));
    }

    #[tokio::test]
    async fn one_key_and_all_of_them_have_so_many_rooms_and_no_more() {
        let limits = Limits { rooms_per_key: 2, claims: 3, ..Limits::default() };
        let claims = Claims::new([], None, &limits);
        claim(&claims, "a", 1, &limits).await.unwrap();
        claim(&claims, "b", 1, &limits).await.unwrap();
        assert_eq!(claim(&claims, "c", 1, &limits).await, Err(ErrorCode::Full));
        claim(&claims, "c", 2, &limits).await.unwrap();
        assert_eq!(claim(&claims, "d", 3, &limits).await, Err(ErrorCode::Full));
        let own = RoomId::from_public_key(tenant(3).key.as_bytes());
        claim(&claims, own.as_str(), 3, &limits).await.unwrap();
        claims.release(&room("a")).await.unwrap();
        claim(&claims, "d", 1, &limits).await.unwrap();
    }

    #[tokio::test]
    async fn claims_are_listed_in_pages() {
        let limits = Limits::default();
        let claims = Claims::new([], None, &limits);
        for name in ["b", "a", "c"] {
            claim(&claims, name, 1, &limits).await.unwrap();
        }
        let names = |after: Option<&str>, limit| {
            let page = claims.list(after.map(room).as_ref(), limit);
            page.iter().map(|(room, _)| room.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(None, 2), ["a", "b"]);
        assert_eq!(names(Some("b"), 2), ["c"]);
    }

    /// Another server was faster; and then nobody can be asked.
    #[derive(Debug)]
    struct Faster(Option<Claim>);

    impl Keeper for Faster {
        fn put<'a>(
            &'a self,
            _: &'a RoomId,
            _: &'a Claim,
        ) -> BoxFuture<'a, Result<Claim, KeeperError>> {
            let result = self.0.clone().ok_or_else(|| KeeperError("no answer".to_owned()));
            Box::pin(std::future::ready(result))
        }

        fn remove<'a>(&'a self, _: &'a RoomId) -> BoxFuture<'a, Result<(), KeeperError>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    #[tokio::test]
    async fn the_keeper_has_the_last_word() {
        let limits = Limits::default();
        let theirs = Claim { tenant: tenant(2), since: 3 };
        let claims = Claims::new([], Some(Box::new(Faster(Some(theirs.clone())))), &limits);
        assert_eq!(claim(&claims, "a", 1, &limits).await, Err(ErrorCode::RoomClaimed));
        assert_eq!(claims.of(&room("a")), Some(theirs));
        let claims = Claims::new([], Some(Box::new(Faster(None))), &limits);
        assert_eq!(claim(&claims, "a", 1, &limits).await, Err(ErrorCode::Full));
        assert_eq!(claims.of(&room("a")), None);
    }

    #[tokio::test]
    async fn what_storage_could_not_keep_does_not_count_against_the_address() {
        let limits = Limits { claims_per_address_per_hour: 1, ..Limits::default() };
        let claims = Claims::new([], Some(Box::new(Faster(None))), &limits);
        for _ in 0..5 {
            let address = Some([192, 0, 2, 1].into());
            let refused = claims.claim(&room("a"), &tenant(1), address, &limits, 7).await;
            assert_eq!(refused.unwrap_err().code, ErrorCode::Full);
        }
    }
}
