//! This process's certificate for DTLS (RFC 8122): self-signed, made at start, used by every
//! session. Viewers learn its fingerprint from the answer.

use rtc::{
    crypto::{self, SignatureScheme},
    peer_connection::certificate::CertificateParams,
};
use webrtc::peer_connection::RTCCertificate;

/// A new one, ECDSA on P-256: what every browser takes (RFC 8827 §6.5).
///
/// # Errors
///
/// Without random numbers.
pub fn generate() -> anyhow::Result<RTCCertificate> {
    let provider = crypto::default_provider()?;
    let parameters = CertificateParams::new(vec!["peercam".to_owned()])?;
    let scheme = SignatureScheme::EcdsaP256Sha256;
    Ok(RTCCertificate::generate(provider.crypto(), scheme, parameters)?)
}
