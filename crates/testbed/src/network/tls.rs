//! Certificates of a test's own authority.

use std::{net::IpAddr, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::{
    Bed,
    error::{Error, Result},
};

/// A server's certificate and the authority that vouches for it, as PEM files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The authority, for clients.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its private key (PKCS #8).
    pub key: PathBuf,
}

impl Certificate {
    /// Makes both, for a server that clients know by these addresses.
    pub fn make(bed: &Bed, addresses: &[IpAddr]) -> Result<Self> {
        let (authority, certificate, key) = generate(addresses).map_err(|error| Error::Answer {
            what: "making a certificate".to_owned(),
            answer: error.to_string(),
        })?;
        Ok(Self {
            authority: bed.write("authority.pem", &authority)?,
            certificate: bed.write("server.pem", &certificate)?,
            key: bed.write("server-key.pem", &key)?,
        })
    }
}

fn generate(addresses: &[IpAddr]) -> std::result::Result<(String, String, String), rcgen::Error> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "Authority of a peercam test");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let authority = parameters.self_signed(&authority_key)?;
    let issuer = Issuer::new(parameters, authority_key);

    let names = addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, "TURN server of a peercam test");
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &issuer)?;
    Ok((authority.pem(), certificate.pem(), key.serialize_pem()))
}
