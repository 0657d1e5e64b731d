//! TLS to servers: with the certificate authorities that browsers trust, and one's own.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, ClientConfig, Error as TlsError, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem, pem::PemObject},
};
use tokio_rustls::TlsConnector;

/// Whom to trust. Cheap to clone; the root certificates are made ready on first use, since most
/// cameras on a local network never need them.
#[derive(Clone)]
pub struct Tls(Arc<Trust>);

struct Trust {
    own: Vec<CertificateDer<'static>>,
    config: OnceLock<Arc<ClientConfig>>,
}

/// Why a file with certificate authorities can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not readable, or not PEM.
    #[error("{}: {source}: give a file of PEM certificates that this user can read", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// No certificate in it, or one that can't be an authority.
    #[error("{}: {problem}: give the authority's certificate, \"-----BEGIN CERTIFICATE-----\"", .file.display())]
    Useless {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Tls {
    /// Trusts what browsers trust, and the authorities in the PEM file `own`.
    ///
    /// # Errors
    ///
    /// When `own` has nothing to trust.
    pub fn load(own: Option<&Path>) -> Result<Self, Error> {
        let Some(file) = own else { return Ok(Self::default()) };
        let file = || file.to_owned();
        let unreadable = |source| Error::Unreadable { file: file(), source };
        let own = CertificateDer::pem_file_iter(file())
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable)?;
        if own.is_empty() {
            return Err(Error::Useless { file: file(), problem: "no certificate in it".into() });
        }
        let mut roots = RootCertStore::empty();
        for certificate in &own {
            let useless = |error: TlsError| Error::Useless {
                file: file(),
                problem: format!("a certificate that can't be an authority ({error})"),
            };
            roots.add(certificate.clone()).map_err(useless)?;
        }
        Ok(Self(Arc::new(Trust { own, config: OnceLock::new() })))
    }

    /// For connecting.
    ///
    /// # Errors
    ///
    /// Never with the cryptography this program is built with.
    pub fn connector(&self) -> Result<TlsConnector, TlsError> {
        if let Some(config) = self.0.config.get() {
            return Ok(config.clone().into());
        }
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in &self.0.own {
            roots.add(certificate.clone())?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(self.0.config.get_or_init(|| Arc::new(config)).clone().into())
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self(Arc::new(Trust { own: Vec::new(), config: OnceLock::new() }))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({} authorities of our own)", self.0.own.len())
    }
}

/// Names in a certificate, which the library shows as `DnsName("example.org")`.
fn names(presented: &[String]) -> String {
    let names: Vec<&str> =
        presented.iter().take(4).map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
    if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
}

/// What went wrong with `host`'s TLS, and the way out; `ca` is the key that names authorities.
pub fn explain(error: &std::io::Error, host: &str, ca: &str) -> String {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<TlsError>()) else {
        return format!("the TLS handshake failed: {error}");
    };
    match error {
        TlsError::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "its certificate was issued by nobody this camera trusts: set {ca} to a file with \
                 that authority's certificate"
            ),
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "its certificate is for {}, not for {host}: name the server as its certificate \
                 does",
                names(presented)
            ),
            CertificateError::NotValidForName => format!(
                "its certificate is not for {host}: name the server as its certificate does"
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: renew it, or set this camera's clock".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: set this camera's clock".to_owned()
            }
            other => format!("its certificate is refused: {other}"),
        },
        TlsError::InvalidMessage(_) => {
            "it does not speak TLS there: look at scheme and port".to_owned()
        }
        other => format!("the TLS handshake failed: {other}"),
    }
}
