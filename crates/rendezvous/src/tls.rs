//! TLS with a certificate from files, which are read again when they change: whoever renews a
//! certificate only has to put the new files in their place.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{info, warn};

use crate::{config::TlsFiles, stamp::Stamp};

/// Why TLS can't be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not readable, or not PEM.
    #[error("{}: {source}: give a PEM file that this user can read", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{}: no certificate in it: give the server's own, and behind it those that lead to \
             the authority, each with \"-----BEGIN CERTIFICATE-----\"", .file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// Certificate and key are no pair, or of a kind that is not known.
    #[error("{} and {}: {source}: give the key that the first certificate is for", .certificate.display(), .key.display())]
    NoPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// The server's side of TLS. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tls {
    certificate: Arc<Certificate>,
    acceptor: TlsAcceptor,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.certificate).finish()
    }
}

/// The certificate that new connections are shown.
#[derive(Debug)]
struct Certificate {
    source: Mutex<Source>,
    current: RwLock<Arc<CertifiedKey>>,
}

#[derive(Debug)]
struct Source {
    files: TlsFiles,
    /// The files as they were when they were last read, whether they were good or not.
    seen: Stamps,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Tls {
    /// Reads the files.
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let seen = stamps(&files);
        let current = RwLock::new(Arc::new(read(&files)?));
        let source = Mutex::new(Source { files, seen });
        let certificate = Arc::new(Certificate { source, current });
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_no_client_auth().with_cert_resolver(certificate.clone()));
        let mut config = config.map_err(|source| {
            let TlsFiles { certificate, key } = certificate.files();
            TlsError::NoPair { certificate, key, source }
        })?;
        // A browser that was offered HTTP/2 would speak it.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { certificate, acceptor })
    }

    /// Does the handshake, in `patience`.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        patience: Duration,
    ) -> io::Result<TlsStream<TcpStream>> {
        match timeout(patience, self.acceptor.accept(stream)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Reads the files again if they have changed; what was read before stays where they are of no
    /// use. Reads a few kilobytes, on the thread that calls.
    pub(crate) fn refresh(&self) {
        self.certificate.refresh(None);
    }

    /// The same with other files from now on; the same files are read again too.
    pub(crate) fn use_files(&self, files: TlsFiles) {
        self.certificate.refresh(Some(files));
    }
}

impl Certificate {
    fn files(&self) -> TlsFiles {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).files.clone()
    }

    fn refresh(&self, files: Option<TlsFiles>) {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let other = files.filter(|files| *files != source.files);
        let seen = stamps(other.as_ref().unwrap_or(&source.files));
        if other.is_none() && seen == source.seen {
            return;
        }
        source.seen = seen;
        if let Some(files) = other {
            source.files = files;
        }
        match read(&source.files) {
            Ok(key) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                info!("a new TLS certificate is in use");
            }
            Err(error) => warn!("{error}; the TLS certificate from before stays in use"),
        }
    }
}

/// Of certificate and key.
type Stamps = (Option<Stamp>, Option<Stamp>);

fn stamps(files: &TlsFiles) -> Stamps {
    (Stamp::of(&files.certificate), Stamp::of(&files.key))
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let unreadable = |file: &PathBuf| {
        let file = file.clone();
        move |source| TlsError::Unreadable { file, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(&files.certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { file: files.certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(&files.key))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|source| {
        TlsError::NoPair { certificate: files.certificate.clone(), key: files.key.clone(), source }
    })
}
