//! Claims that all nodes share: a bucket (JetStream KV) beside the node's own store.
//!
//! What one node writes all others learn by watching the bucket ([`crate::claims::Claims::learn`]),
//! so that known rooms need no question. Only a room that is new, or whose camera says something
//! new, is written, by compare-and-set: of two keys that claim it at the same time one has it.

use std::{future::Future, sync::Arc};

use async_nats::jetstream::kv::{Entry, Operation, Store, UpdateErrorKind};
use futures_util::{FutureExt, future::BoxFuture};
use peercam_protocol::RoomId;
use tokio::time::timeout;
use tracing::debug;

use super::{
    Cluster,
    nats::{PATIENCE, key, room_of},
};
use crate::{
    claims::{Claim, Keeper, KeeperError},
    rooms::Rooms,
};

/// Attempts to write a claim while others write the same one.
const ATTEMPTS: u32 = 4;

/// Claims that are looked at in one go.
const PAGE: usize = 256;

/// Keeps claims in the bucket of the cluster and, where this node has a store, there too: so it
/// knows them after a start without NATS.
#[derive(Debug)]
pub(crate) struct SharedClaims {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) own: Option<Box<dyn Keeper>>,
}

impl Keeper for SharedClaims {
    fn put<'a>(
        &'a self,
        room: &'a RoomId,
        claim: &'a Claim,
    ) -> BoxFuture<'a, Result<Claim, KeeperError>> {
        async move {
            let holder = within(put(&self.store()?, room, claim)).await?;
            if holder.tenant.key != claim.tenant.key {
                self.cluster.figures.conflicts.one();
            }
            if let Some(own) = &self.own {
                own.put(room, &holder).await?;
            }
            Ok(holder)
        }
        .boxed()
    }

    fn remove<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<(), KeeperError>> {
        async move {
            let store = self.store()?;
            within(async { store.delete(key(room)).await.map_err(failed) }).await?;
            match &self.own {
                Some(own) => own.remove(room).await,
                None => Ok(()),
            }
        }
        .boxed()
    }
}

impl SharedClaims {
    fn store(&self) -> Result<Store, KeeperError> {
        self.cluster.claims().map_err(KeeperError)
    }
}

async fn put(store: &Store, room: &RoomId, claim: &Claim) -> Result<Claim, KeeperError> {
    let value = serde_json::to_vec(claim).map_err(failed)?;
    for _ in 0..ATTEMPTS {
        let entry = store.entry(key(room)).await.map_err(failed)?;
        if let Some(entry) = entry.as_ref().filter(|entry| entry.operation == Operation::Put) {
            let holder: Claim = serde_json::from_slice(&entry.value).map_err(failed)?;
            if holder.tenant.key != claim.tenant.key || holder == *claim {
                return Ok(holder);
            }
        }
        let revision = entry.map_or(0, |entry| entry.revision);
        match store.update(key(room), value.clone().into(), revision).await {
            Ok(_) => return Ok(claim.clone()),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(KeeperError("other nodes keep changing this claim".to_owned()))
}

/// Tells the others what this node knew before it was in the cluster. What they know of a room
/// goes before what this node does.
pub(crate) async fn share(rooms: &Rooms, store: &Store) {
    let mut after = None;
    loop {
        let claims = rooms.claims.list(after.as_ref(), PAGE);
        let Some((last, _)) = claims.last() else { return };
        after = Some(last.clone());
        for (room, claim) in claims {
            match within(compare(store, &room, claim)).await {
                Ok(holder) => rooms.claims.learn(&room, holder),
                Err(error) => debug!(%room, %error, "a claim could not be shared"),
            }
        }
    }
}

/// Whose a room is that this node takes for claimed.
async fn compare(store: &Store, room: &RoomId, claim: Claim) -> Result<Option<Claim>, KeeperError> {
    match store.entry(key(room)).await.map_err(failed)? {
        None => put(store, room, &claim).await.map(Some),
        Some(entry) => Ok(claim_of(&entry).map_or(Some(claim), |(_, holder)| holder)),
    }
}

/// What an entry of the bucket says: of which room, and whose it is.
pub(crate) fn claim_of(entry: &Entry) -> Option<(RoomId, Option<Claim>)> {
    let room = room_of(&entry.key)?;
    match entry.operation {
        Operation::Put => Some((room, Some(serde_json::from_slice(&entry.value).ok()?))),
        Operation::Delete | Operation::Purge => Some((room, None)),
    }
}

async fn within<T>(work: impl Future<Output = Result<T, KeeperError>>) -> Result<T, KeeperError> {
    timeout(2 * PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(KeeperError("the cluster (NATS) does not answer".to_owned())))
}

fn failed(error: impl std::fmt::Display) -> KeeperError {
    KeeperError(format!("the cluster (NATS): {error}"))
}
