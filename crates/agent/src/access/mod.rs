//! Who may watch: the camera decides, whatever a rendezvous says.
//!
//! | module | holds |
//! |---|---|
//! | `door` | whether a viewer may come in |
//! | [`mint`](mod@mint) | new viewer tokens |
//! | [`book`] | what was shared, revoked, used up |
//! | `witness` | the proof that an answer is the camera's |
//! | `clock` | what time it is, also without a clock battery |
//! | `kernel` | this machine's clocks |
//! | `files` | what outlives a restart |
//!
//! [`Access`] is one handle for all who need it: the line to the rendezvous proves by it that a
//! room is the camera's, the agent's loop asks it about each join and each running session, and
//! the owner's commands share and revoke. Clones share what they know.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use peercam_protocol::{
    Claims, Fingerprint, Nonce, PublicKey, RoomId, TokenError, proof,
    signalling::{Door, Error, ErrorCode, FromCamera, Pass, ServerTime},
    token::LEEWAY,
};
use tokio::{
    sync::watch,
    task::{self, JoinHandle},
};
use tracing::{info, warn};

pub mod book;
mod clock;
mod door;
mod files;
mod kernel;
pub mod mint;
mod witness;

pub use book::{BookError, Listed, Revoked, Share, ShareState};
pub use mint::{MintError, Minted, Signer, Terms, mint};
pub use witness::Witness;

use crate::{config, identity::Identity, tls::Time};
use book::Book;
use clock::Clock;
use door::Rules;
use files::Files;

/// Who may watch. See the [module](self).
#[derive(Debug, Clone)]
pub struct Access(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rules: Rules,
    book: Mutex<Book>,
    clock: Mutex<Clock>,
    files: Files,
    /// Something was revoked.
    revocations: watch::Sender<()>,
}

/// A viewer may come in.
#[derive(Debug)]
pub struct Admission {
    /// By what he came; none through an open door.
    pub ticket: Option<Ticket>,
    /// Vouches for the answer, where he asked for that.
    pub witness: Option<Witness>,
    /// Of his certificate, where his offer has one: who he is.
    pub fingerprint: Option<Fingerprint>,
}

/// What a session stands on: it ends with it.
#[derive(Debug, Clone)]
pub struct Ticket(Claims);

/// What is being written down.
#[derive(Debug)]
pub struct Kept(JoinHandle<Result<(), files::Error>>);

impl Kept {
    /// Waits until it outlives a power cut.
    ///
    /// # Errors
    ///
    /// With a sentence for the viewer.
    pub async fn done(self) -> Result<(), Error> {
        let problem = match self.0.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        warn!("a link for one visit can't be used: {problem}");
        let message = "the camera can't write down that this link was used: see its log";
        Err(Error::new(ErrorCode::Other, message))
    }
}

/// Why nothing was shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// What is wanted makes no sense.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// It can't be remembered.
    #[error(transparent)]
    Book(#[from] BookError),
    /// It would be refused at the door.
    #[error("this camera takes no tokens that are bound to no key: set access.bearer = true first")]
    Bearer,
    /// It could not say until when it is good.
    #[error(
        "the camera does not know what time it is: wait until it has reached its rendezvous \
         server or a time server"
    )]
    Time,
    /// It can't be written down.
    #[error(transparent)]
    Unkept(#[from] files::Error),
}

/// Why something was not revoked, or only until the next start.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// It can't be remembered.
    #[error(transparent)]
    Book(#[from] BookError),
    /// It holds, but can't be written down.
    #[error("revoked until the camera starts again, but not for longer: {0}")]
    Unkept(#[from] files::Error),
}

impl Access {
    /// As `config` says, for the camera with this identity; with what `state_dir` has of earlier
    /// runs. What is damaged there is moved aside, and then nothing that was shared before is good
    /// any more: what was revoked must not come to life.
    pub fn open(identity: &Identity, config: &config::Access, state_dir: &Path) -> Self {
        let files = Files::new(state_dir);
        let mut clock = Clock::new(files.clock());
        let book = files.book().unwrap_or_else(|| {
            warn!("all that was shared up to now is revoked: share anew");
            let mut book = Book::default();
            book.revoke_all(clock.now(kernel::read()));
            // At once: the next start must not take the missing file for that of a new camera.
            if let Err(error) = files.write_book(|| book.clone()) {
                warn!("{error}");
            }
            book
        });
        Self(Arc::new(Shared {
            rules: Rules::new(identity.key().clone(), config),
            book: Mutex::new(book),
            clock: Mutex::new(clock),
            files,
            revocations: watch::Sender::new(()),
        }))
    }

    /// The camera's key: viewers know it by the link.
    pub fn public_key(&self) -> PublicKey {
        self.0.rules.key.public()
    }

    /// Who may come in.
    pub fn door(&self) -> Door {
        self.0.rules.door
    }

    /// What time it is, in seconds after 1970.
    pub fn now(&self) -> u64 {
        lock(&self.0.clock).now(kernel::read())
    }

    /// What time it is, for certificates.
    pub fn time(&self) -> Time {
        let known = lock(&self.0.clock).is_known(kernel::read());
        Time { unix: self.now(), known }
    }

    /// That this camera asks for `room` on the server it knows as `authority`: the answer to its
    /// `challenge`. See [`proof::host`].
    pub fn prove(
        &self,
        authority: &str,
        room: &RoomId,
        challenge: &Nonce,
        nonce: Nonce,
    ) -> FromCamera {
        let Rules { key, door, owners, .. } = &self.0.rules;
        let statement = proof::host(authority, room, challenge, &nonce, *door, owners);
        FromCamera::Prove {
            key: key.public(),
            nonce,
            door: *door,
            issuers: owners.clone(),
            signature: key.sign(&statement),
        }
    }

    /// The server at `url` said what time it is, in answer to `nonce`.
    pub fn hear_time(&self, url: &str, room: &RoomId, nonce: &Nonce, time: &ServerTime) {
        let heard = lock(&self.0.clock).hear(url, room, nonce, time, kernel::read());
        match heard {
            Ok(None) => {}
            Ok(Some(behind)) => warn!(
                "the clock of {url} is {} min behind the latest time that this camera has known, \
                 which holds for tokens: if that is wrong, let a time server (NTP) set the clock",
                behind.as_secs() / 60
            ),
            Err(refusal) => warn!("{refusal}"),
        }
        self.keep_time();
    }

    /// Writes down what time it is, where that is due. Called now and then.
    pub fn keep_time(&self) {
        self.now();
        if lock(&self.0.clock).to_write(false).is_some() {
            let shared = self.0.clone();
            task::spawn_blocking(move || {
                if let Err(error) = shared.keep_clock(false) {
                    warn!("{error}");
                }
            });
        }
    }

    /// Whether the viewer with this offer (SDP) may come into `room`, by what he shows.
    ///
    /// # Errors
    ///
    /// For the viewer.
    pub fn admit(
        &self,
        room: &RoomId,
        offer: &str,
        pass: Option<&Pass>,
    ) -> Result<Admission, Error> {
        let Shared { rules, book, .. } = &*self.0;
        let viewer = Fingerprint::of_sdp(offer)
            .map_err(|error| Error::new(ErrorCode::BadOffer, error.to_string()));
        let ticket = match rules.door {
            Door::Open => None,
            Door::Token => {
                let viewer = viewer.as_ref().map_err(Clone::clone)?;
                let claims = rules.check(room, viewer, pass, self.now())?;
                lock(book).check(&claims)?;
                Some(Ticket(claims))
            }
        };
        let fingerprint = viewer.as_ref().ok().copied();
        let witness = self.witness(room, viewer, pass)?;
        Ok(Admission { ticket, witness, fingerprint })
    }

    /// Who vouches for the answer to an offer for a running session, where the viewer asks for that.
    ///
    /// # Errors
    ///
    /// The offer has no fingerprint.
    pub fn readmit(
        &self,
        room: &RoomId,
        offer: &str,
        pass: Option<&Pass>,
    ) -> Result<Option<Witness>, Error> {
        let viewer = Fingerprint::of_sdp(offer)
            .map_err(|error| Error::new(ErrorCode::BadMessage, error.to_string()));
        self.witness(room, viewer, pass)
    }

    fn witness(
        &self,
        room: &RoomId,
        viewer: Result<Fingerprint, Error>,
        pass: Option<&Pass>,
    ) -> Result<Option<Witness>, Error> {
        let Some(Pass { nonce, .. }) = pass else { return Ok(None) };
        let (key, room) = (self.0.rules.key.clone(), room.clone());
        Ok(Some(Witness { key, room, nonce: *nonce, viewer: viewer? }))
    }

    /// The session of an admission begins. For a ticket that is good for one, what there is to wait
    /// for before the viewer is answered.
    ///
    /// # Errors
    ///
    /// For the viewer: another one was faster, or too many such tokens are out.
    pub fn enter(&self, admission: &Admission) -> Result<Option<Kept>, Error> {
        let Some(Ticket(claims)) = &admission.ticket else { return Ok(None) };
        if !claims.once {
            return Ok(None);
        }
        let now = self.now();
        {
            let mut book = lock(&self.0.book);
            book.check(claims)?;
            book.use_up(claims, now).map_err(|error| {
                warn!("a link for one visit can't be used: {error}");
                Error::new(ErrorCode::Other, error.to_string())
            })?;
        }
        let shared = self.0.clone();
        Ok(Some(Kept(task::spawn_blocking(move || shared.keep()))))
    }

    /// Whether the session that began by this ticket may go on.
    ///
    /// # Errors
    ///
    /// It has expired, or was revoked.
    pub fn review(&self, Ticket(claims): &Ticket) -> Result<(), TokenError> {
        if lock(&self.0.book).is_revoked(&claims.jti, claims.iat) {
            return Err(TokenError::Revoked);
        }
        let now = self.now();
        if now >= claims.exp.saturating_add(LEEWAY) {
            return Err(TokenError::Expired { ago: now - claims.exp });
        }
        Ok(())
    }

    /// Changes when something was revoked: the moment to [review](Self::review) all sessions.
    pub fn revocations(&self) -> watch::Receiver<()> {
        self.0.revocations.subscribe()
    }

    /// Makes a token for a viewer, and remembers that under `label`. When this returns it outlives
    /// a power cut.
    ///
    /// # Errors
    ///
    /// Nothing is shared then.
    pub async fn share(&self, terms: &Terms, label: Option<String>) -> Result<Minted, ShareError> {
        let Shared { rules, book, clock, .. } = &*self.0;
        if terms.bearer && !rules.bearer {
            return Err(ShareError::Bearer);
        }
        if !lock(clock).is_known(kernel::read()) {
            return Err(ShareError::Time);
        }
        let now = self.now();
        let minted = {
            let mut book = lock(book);
            let minted = mint(Signer::Camera(&rules.key), terms, now.max(book.earliest()))?;
            book.note(&minted.claims, &terms.room, label, now)?;
            minted
        };
        if let Err(error) = self.keep().await {
            lock(book).forget(&minted.claims.jti);
            return Err(error.into());
        }
        info!(token = minted.claims.jti, room = %terms.room, "shared");
        Ok(minted)
    }

    /// What was shared by this camera, the latest first.
    pub fn shares(&self) -> Vec<Listed> {
        let now = self.now();
        lock(&self.0.book).list(now)
    }

    /// Takes back the token with this id, or all shares with this label, at once: sessions that
    /// run by them end.
    ///
    /// # Errors
    ///
    /// See [`RevokeError`].
    pub async fn revoke(&self, name: &str) -> Result<Revoked, RevokeError> {
        let now = self.now();
        let revoked = lock(&self.0.book).revoke(name, now)?;
        self.0.revocations.send_replace(());
        self.keep().await?;
        info!("revoked: {revoked:?}");
        Ok(revoked)
    }

    /// Takes back all tokens that were made up to now, whoever signed them. How many shares of this
    /// camera were good before.
    ///
    /// # Errors
    ///
    /// See [`RevokeError`].
    pub async fn revoke_all(&self) -> Result<usize, RevokeError> {
        let now = self.now();
        let count = lock(&self.0.book).revoke_all(now);
        self.0.revocations.send_replace(());
        self.keep().await?;
        info!("all tokens up to now are revoked, {count} shares among them");
        Ok(count)
    }

    async fn keep(&self) -> Result<(), files::Error> {
        let shared = self.0.clone();
        task::spawn_blocking(move || shared.keep())
            .await
            .unwrap_or_else(|error| Err(files::Error::interrupted(&error)))
    }
}

impl Shared {
    /// Writes it all down, and the time too: a token must not be newer than the latest known time
    /// after a power cut. Blocks.
    fn keep(&self) -> Result<(), files::Error> {
        self.files.write_book(|| lock(&self.book).clone())?;
        self.keep_clock(true)
    }

    fn keep_clock(&self, at_once: bool) -> Result<(), files::Error> {
        self.files.write_clock(|| {
            let mut clock = lock(&self.clock);
            let memory = clock.to_write(at_once)?;
            // Also where it fails: a disk that is full is not tried, and complained about, for ever.
            clock.wrote(&memory);
            Some(memory)
        })
    }
}

/// What these guard is whole between any two statements, also after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
