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
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{config::TlsFiles, stamp::Stamp};

/// A certificate that ends sooner, in seconds, is warned of: two weeks. Those that are made anew
/// every 90 days have been renewed by then.
const SOON: u64 = 14 * DAY;

/// Between two warnings, in seconds.
const DAY: u64 = 24 * 3600;

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
    /// When it was last warned of, in seconds since 1970; none: of the one before, or never.
    warned: Mutex<Option<u64>>,
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
        let certificate = Arc::new(Certificate { source, current, warned: Mutex::default() });
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

    /// When the certificate ends, or the first one between it and its authority, in seconds since
    /// 1970. None where that can't be read.
    pub(crate) fn ends(&self) -> Option<u64> {
        let current = self.certificate.current.read().unwrap_or_else(PoisonError::into_inner);
        end_of(&current.cert)
    }

    /// Warns, once a day at most, of a certificate that ends soon or has ended; `now` is in seconds
    /// since 1970.
    pub(crate) fn warn_of_end(&self, now: u64) {
        let Some(end) = self.ends() else { return };
        let mut warned = self.certificate.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_due(end, now, *warned) {
            return;
        }
        *warned = Some(now);
        let file = self.certificate.files().certificate;
        warn!(
            "{}: the TLS certificate {}: renew it; new files are taken without a restart",
            file.display(),
            when(end, now)
        );
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
                *self.warned.lock().unwrap_or_else(PoisonError::into_inner) = None;
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

/// When the first one ends, in seconds since 1970.
fn end_of(chain: &[CertificateDer<'_>]) -> Option<u64> {
    let ends = chain.iter().map(|certificate| {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        u64::try_from(certificate.validity().not_after.timestamp()).ok()
    });
    ends.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// Whether it is to be warned now of a certificate that ends then; all in seconds since 1970.
fn is_due(end: u64, now: u64, warned: Option<u64>) -> bool {
    end < now + SOON && warned.is_none_or(|warned| now >= warned + DAY)
}

/// In words.
fn when(end: u64, now: u64) -> String {
    let days = |seconds: u64| match seconds / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    match end.checked_sub(now) {
        Some(left) => format!("ends in {}", days(left)),
        None => format!("ended {} ago, and is refused now", days(now - end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_warned_of_once_a_day_from_two_weeks_before_on() {
        let end = 100 * DAY;
        assert!(!is_due(end, 86 * DAY, None), "two weeks are enough");
        let first = 86 * DAY + 1;
        assert!(is_due(end, first, None));
        assert!(!is_due(end, first + DAY - 1, Some(first)));
        assert!(is_due(end, first + DAY, Some(first)));
        assert!(is_due(end, 200 * DAY, Some(199 * DAY)), "after its end too");
        assert!(is_due(0, 0, None) && !is_due(u64::MAX, u64::MAX - 15 * DAY, None));
        for (end, words) in
            [(98, "ends in 98 days"), (1, "ends in 1 day"), (0, "ends in less than a day")]
        {
            assert_eq!(when(end * DAY, 0), words);
        }
        assert_eq!(when(DAY, 3 * DAY - 1), "ended 1 day ago, and is refused now");
    }

    #[test]
    fn of_a_chain_the_first_end_counts() {
        let certificate = |year| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
            parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
            parameters.self_signed(&key).unwrap().der().clone()
        };
        const IN_2030: u64 = 1_893_456_000;
        assert_eq!(end_of(&[certificate(2040), certificate(2030)]), Some(IN_2030));
        // Beyond 2049 they are written in another form.
        assert_eq!(end_of(&[certificate(2030), certificate(2050)]), Some(IN_2030));
        let broken = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
        assert_eq!(end_of(&[certificate(2040), broken]), None);
        assert_eq!(end_of(&[]), None);
    }
}
