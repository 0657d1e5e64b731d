//! TLS to servers: with the certificate authorities that browsers trust, and one's own; also on a
//! camera that wakes up in 1970, where every certificate is of the future.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem, pem::PemObject},
};
use tokio_rustls::TlsConnector;

/// Whom to trust. Cheap to clone; the root certificates are made ready on first use, since most
/// cameras on a local network never need them.
#[derive(Clone)]
pub struct Tls(Arc<Trust>);

struct Trust {
    own: Vec<CertificateDer<'static>>,
    clock: Option<Clock>,
    config: OnceLock<Arc<ClientConfig>>,
}

/// What time it is, for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Seconds after 1970.
    pub unix: u64,
    /// Whether that is more than the earliest that it can be.
    pub known: bool,
}

type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

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
        Ok(Self(Arc::new(Trust { own, clock: None, config: OnceLock::new() })))
    }

    /// The same, by another clock than the system's. Where that does not know the time, it is
    /// taken to be late enough for certificates that are otherwise good: who issued them knew what
    /// time it was.
    #[must_use]
    pub fn by_clock(&self, clock: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        let clock: Option<Clock> = Some(Arc::new(clock));
        Self(Arc::new(Trust { own: self.0.own.clone(), clock, config: OnceLock::new() }))
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
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let config = match &self.0.clock {
            None => config.with_root_certificates(roots).with_no_client_auth(),
            Some(clock) => {
                let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| TlsError::General(error.to_string()))?;
                let verifier = Arc::new(ByClock { inner, clock: clock.clone() });
                config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            }
        };
        Ok(self.0.config.get_or_init(|| Arc::new(config)).clone().into())
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self(Arc::new(Trust { own: Vec::new(), clock: None, config: OnceLock::new() }))
    }
}

/// The library's verifier, by a clock of ours.
struct ByClock {
    inner: Arc<dyn ServerCertVerifier>,
    clock: Clock,
}

/// Most certificates of a chain whose beginnings are waited for.
const MAX_CHAIN: usize = 5;

impl ServerCertVerifier for ByClock {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Time { unix, known } = (self.clock)();
        let mut now = UnixTime::since_unix_epoch(Duration::from_secs(unix));
        let verify = |now| {
            let inner = &self.inner;
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        let mut outcome = verify(now);
        for _ in 0..MAX_CHAIN {
            match outcome {
                Err(TlsError::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if !known && not_before > now => {
                    now = not_before;
                    outcome = verify(now);
                }
                _ => break,
            }
        }
        outcome
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl fmt::Debug for ByClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByClock")
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    /// The first days of these years.
    const IN_2020: u64 = 1_577_836_800;
    const IN_2022: u64 = 1_640_995_200;
    const IN_2024: u64 = 1_704_067_200;

    /// Of a certificate that is good from 2021 to 2023, at the time `unix`.
    fn verify(unix: u64, known: bool) -> Result<(), CertificateError> {
        let years = |parameters: &mut CertificateParams| {
            parameters.not_before = rcgen::date_time_ymd(2021, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2023, 1, 1);
        };
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        years(&mut authority);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let mut server = CertificateParams::new(vec!["cam.example.org".to_owned()]).unwrap();
        years(&mut server);
        let server = server.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let verifier = ByClock { inner, clock: Arc::new(move || Time { unix, known }) };
        let name = ServerName::try_from("cam.example.org").unwrap();
        let outcome = verifier.verify_server_cert(server.der(), &[], &name, &[], UnixTime::now());
        match outcome {
            Ok(_) => Ok(()),
            Err(TlsError::InvalidCertificate(problem)) => Err(problem),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn who_does_not_know_the_time_takes_certificates_of_the_future() {
        assert_eq!(verify(IN_2022, true), Ok(()));
        assert_eq!(verify(IN_2020, false), Ok(()));
        let early = verify(IN_2020, true);
        assert!(matches!(early, Err(CertificateError::NotValidYetContext { .. })), "{early:?}");
        for known in [true, false] {
            let expired = verify(IN_2024, known);
            assert!(matches!(expired, Err(CertificateError::ExpiredContext { .. })), "{expired:?}");
        }
    }
}
