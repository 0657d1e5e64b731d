//! The camera's certificate for DTLS (RFC 8122): self-signed, made on first start, kept from then
//! on, used by every session. Viewers learn its fingerprint from the answer.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rtc::{
    crypto::{self, SignatureScheme},
    peer_connection::certificate::CertificateParams,
};
use tracing::{info, warn};
use webrtc::peer_connection::RTCCertificate;

use crate::durable;

/// Name of its file in the state directory: PEM with the expiry, certificate and private key.
pub const FILE_NAME: &str = "dtls.pem";

/// Largest file that is one. Real ones have less than 2 KB.
const MAX_SIZE: u64 = 64 * 1024;

/// The certificate in `state_dir`. Where there is none, or it is of no use any more, a new one: no
/// viewer depends on it, since each learns it anew. A damaged file is moved aside for whoever
/// wants to know. What can't be written down is used until the next start.
///
/// # Errors
///
/// Without random numbers.
pub fn load_or_create(state_dir: &Path) -> anyhow::Result<RTCCertificate> {
    let file = state_dir.join(FILE_NAME);
    match load(&file) {
        Ok(Some(certificate)) => return Ok(certificate),
        Ok(None) => {}
        Err(problem) => {
            let aside = move_aside(&file);
            warn!("the DTLS certificate {} {problem}: a new one is made{aside}", file.display());
        }
    }
    let certificate = generate()?;
    let written = certificate
        .serialize_pem()
        .map_err(|error| error.to_string())
        .and_then(|pem| durable::write(&file, pem.as_bytes()).map_err(|error| error.to_string()));
    match written {
        Ok(()) => info!("a new DTLS certificate is in {}", file.display()),
        Err(error) => {
            warn!("the DTLS certificate can't be kept in {}: {error}", file.display());
        }
    }
    Ok(certificate)
}

/// A new one, ECDSA on P-256: what every browser takes (RFC 8827 §6.5).
fn generate() -> anyhow::Result<RTCCertificate> {
    let provider = crypto::default_provider()?;
    let parameters = CertificateParams::new(vec!["peercam".to_owned()])?;
    let scheme = SignatureScheme::EcdsaP256Sha256;
    Ok(RTCCertificate::generate(provider.crypto(), scheme, parameters)?)
}

/// None: there is no such file. An error says in words what it is.
fn load(file: &Path) -> Result<Option<RTCCertificate>, String> {
    let unreadable = |error: io::Error| format!("can't be read ({error})");
    match fs::metadata(file) {
        Ok(metadata) if metadata.len() > MAX_SIZE => {
            return Err(format!("is damaged ({} bytes long)", metadata.len()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    let pem = fs::read_to_string(file).map_err(unreadable)?;
    let certificate = parse(&pem).map_err(|problem| format!("is damaged ({problem})"))?;
    if certificate.expires <= SystemTime::now() {
        return Err("has expired".to_owned());
    }
    Ok(Some(certificate))
}

fn parse(pem: &str) -> Result<RTCCertificate, String> {
    // The library expects 8 bytes here and breaks down over less: 12 characters in base64.
    let expiry = pem
        .strip_prefix("-----BEGIN EXPIRES-----")
        .and_then(|rest| rest.split_once("-----END EXPIRES-----"))
        .map(|(expiry, _)| expiry.trim());
    if expiry.is_none_or(|expiry| expiry.len() != 12) {
        return Err("no expiry".to_owned());
    }
    let provider = crypto::default_provider().map_err(|error| error.to_string())?;
    RTCCertificate::from_pem(pem, provider.crypto()).map_err(|error| error.to_string())
}

/// Where it is now, for the log.
fn move_aside(file: &Path) -> String {
    let aside: PathBuf = file.with_extension("pem.unusable");
    match fs::rename(file, &aside) {
        Ok(()) => format!("; the old one is in {}", aside.display()),
        Err(error) => format!("; the old one can't be moved aside ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fingerprint(certificate: &RTCCertificate) -> String {
        let provider = crypto::default_provider().unwrap();
        certificate.get_fingerprints(provider.crypto()).unwrap()[0].value.clone()
    }

    #[test]
    fn the_first_start_makes_one_and_the_next_ones_find_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create(folder.path()).unwrap();
        let again = load_or_create(folder.path()).unwrap();
        assert_eq!(fingerprint(&first), fingerprint(&again));
        let mode = fs::metadata(folder.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn one_that_is_damaged_or_expired_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        let first = load_or_create(folder.path()).unwrap();
        let good = fs::read_to_string(&file).unwrap();
        let (_, rest) = good.split_once("-----END EXPIRES-----").unwrap();
        let expiring = |expiry: &str| {
            format!("-----BEGIN EXPIRES-----\n{expiry}\n-----END EXPIRES-----{rest}").into_bytes()
        };
        let damages = [
            b"".to_vec(),
            b"\xff\xfe".to_vec(),
            b"-----BEGIN EXPIRES-----\nAAAA\n-----END EXPIRES-----\n".to_vec(),
            good.as_bytes()[..good.len() / 2].to_vec(),
            good.replace("PRIVATE", "PUBLIC").into_bytes(),
            vec![b'-'; 100_000],
            // The first second of 1970.
            expiring("AQAAAAAAAAA="),
            expiring("AAAA"),
            expiring("////////////"),
        ];
        for damage in damages {
            fs::write(&file, &damage).unwrap();
            let new = load_or_create(folder.path()).unwrap();
            assert_ne!(fingerprint(&new), fingerprint(&first));
            assert_eq!(fs::read(folder.path().join("dtls.pem.unusable")).unwrap(), damage);
            let kept = load_or_create(folder.path()).unwrap();
            assert_eq!(fingerprint(&kept), fingerprint(&new));
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        load_or_create(folder.path()).unwrap();
        let good = fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
        parse(&good).unwrap();
        for length in (0..good.trim_end().len()).step_by(3) {
            assert!(parse(&good[..length]).is_err(), "{}", &good[..length]);
        }
    }

    #[test]
    fn without_a_place_to_keep_it_there_is_one_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        load_or_create(&file.join("state")).unwrap();
    }
}
