//! Whom the server trusts where it calls others by TLS, and words for what fails there.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, Error as TlsError, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem, pem::PemObject},
};

/// Why a file with certificate authorities can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
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

/// For connecting to who shows a certificate of an authority that browsers trust, or of one in the
/// PEM file `own`.
pub(crate) fn client_config(own: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let useless = |problem: String| {
        let file = own.unwrap_or(Path::new("")).to_owned();
        TrustError::Useless { file, problem }
    };
    if let Some(file) = own {
        let unreadable = |source| TrustError::Unreadable { file: file.to_owned(), source };
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable)?;
        if certificates.is_empty() {
            return Err(useless("no certificate in it".to_owned()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| {
                useless(format!("a certificate that can't be an authority ({error})"))
            })?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        // Never with the cryptography this program is built with.
        .map_err(|error| useless(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// What went wrong with `host`'s TLS, and the way out; `ca` is the key that names authorities.
pub(crate) fn explain(error: &io::Error, host: &str, ca: &str) -> String {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<TlsError>()) else {
        return format!("the TLS handshake failed: {error}");
    };
    match error {
        TlsError::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "its certificate was issued by nobody this server trusts: set {ca} to a file with \
                 that authority's certificate"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("its certificate is not for {host}: name it as its certificate does")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: renew it, or set this machine's clock".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: set this machine's clock".to_owned()
            }
            other => format!("its certificate is refused: {other}"),
        },
        TlsError::InvalidMessage(_) => {
            "it does not speak TLS there: look at scheme and port".to_owned()
        }
        other => format!("the TLS handshake failed: {other}"),
    }
}
