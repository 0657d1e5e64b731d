//! A certificate authority, and what it signs.

use std::{fs, path::PathBuf};

use peercam_rendezvous::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// An authority, and a folder for files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate with its key.
pub struct Issued {
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap());
        Self { issuer: issuer.unwrap(), folder: TempDir::new().unwrap() }
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its own certificate.
    pub fn der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// The same as a file.
    pub fn file(&self) -> PathBuf {
        let file = self.path("authority.pem");
        fs::write(&file, self.issuer.pem()).unwrap();
        file
    }

    /// A certificate for this name or address.
    pub fn issue(&self, name: &str) -> Issued {
        self.issue_with(name, |_| {})
    }

    /// The same with a change.
    pub fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut parameters);
        Issued { certificate: parameters.signed_by(&key, &self.issuer).unwrap(), key }
    }

    /// Where a server's files are.
    pub fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.path("cert.pem"), key: self.path("key.pem") }
    }

    /// Puts a new certificate for `localhost` and its key in place; returns what the server will
    /// show.
    pub fn renew(&self) -> Vec<u8> {
        self.put(&self.issue("localhost"))
    }

    /// Puts these in place.
    pub fn put(&self, issued: &Issued) -> Vec<u8> {
        fs::write(self.path("cert.pem"), issued.certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), issued.key.serialize_pem()).unwrap();
        issued.certificate.der().to_vec()
    }
}
