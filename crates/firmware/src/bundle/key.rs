//! Who signs a bundle: a key and its certificate, in files or in a PKCS#11 token; or a
//! development key, made on first use.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::hash::at;
use crate::tool;

/// Stands in the subject of every development certificate, and in the name that a bundle signed
/// with one gets when nobody gives it another.
pub const DEVELOPMENT: &str = "DEVELOPMENT";

/// As a file name or a URL that begins with it, a key lies in a token.
const TOKEN: &str = "pkcs11:";

/// Long enough for a bench, and no thing to rely on in the field.
const DAYS: &str = "3650";

/// A key, its certificate, and what a camera would check a bundle with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The private key: a PEM file, or a PKCS#11 URI.
    pub key: String,
    /// Its certificate: a PEM file, or a PKCS#11 URI.
    pub certificate: String,
    /// The certificates that the bundle is checked with, as a camera does: PEM.
    pub keyring: PathBuf,
    /// Whether it is a development key.
    pub development: bool,
}

/// Why there is nobody to sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate in a token can't be its own keyring.
    #[error(
        "the certificate is in a token: name the file with the certificates that cameras check \
         bundles with, by --keyring"
    )]
    NoKeyring,
    /// A file that can't be read.
    #[error("{what} can't be read: {source}")]
    Unreadable {
        /// `the key`, `the certificate`, `the keyring`.
        what: &'static str,
        /// Why not, with its path.
        source: std::io::Error,
    },
    /// Others may read the development key.
    #[error(
        "others may read {0}: remove its folder, and the next bundle makes a new key, or `chmod \
         600` it if you trust them"
    )]
    Exposed(PathBuf),
    /// A program.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// A file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Signer {
    /// A key and certificate that a person names. Without a keyring, the certificate has to be
    /// self-signed, and is it.
    ///
    /// # Errors
    /// When a file is missing, or a keyring.
    pub fn named(key: &str, certificate: &str, keyring: Option<&Path>) -> Result<Self, Error> {
        let keyring = match keyring {
            Some(keyring) => keyring.to_owned(),
            None if certificate.starts_with(TOKEN) => return Err(Error::NoKeyring),
            None => PathBuf::from(certificate),
        };
        let files = [("the key", key), ("the certificate", certificate)]
            .map(|(what, f)| (what, Path::new(f)));
        for (what, file) in files.into_iter().chain([("the keyring", keyring.as_path())]) {
            if !file.to_string_lossy().starts_with(TOKEN) {
                fs::File::open(file)
                    .map_err(|error| Error::Unreadable { what, source: at(file, error) })?;
            }
        }
        let development =
            !certificate.starts_with(TOKEN) && is_development(Path::new(certificate))?;
        Ok(Self { key: key.to_owned(), certificate: certificate.to_owned(), keyring, development })
    }

    /// The development key in `folder`; made, with the folder, on first use. Its subject says
    /// what it is. A camera takes what it signs only when the board's keyring has it.
    ///
    /// # Errors
    /// When it can't be made, or others may read it.
    pub fn development(folder: &Path) -> Result<Self, Error> {
        let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
        if !folder.exists() {
            make(folder)?;
        }
        let mode = fs::metadata(&key).map_err(|error| at(&key, error))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Error::Exposed(key));
        }
        let (key, keyring) = (key.display().to_string(), certificate.clone());
        let certificate = certificate.display().to_string();
        Ok(Self { key, certificate, keyring, development: true })
    }
}

/// Makes the folder with key and certificate under another name, so that it is whole or not
/// there.
fn make(folder: &Path) -> Result<(), Error> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|error| at(parent, error))?;
    let scratch = tempfile::tempdir_in(parent).map_err(|error| at(parent, error))?;
    let new = scratch.path().join("new");
    fs::DirBuilder::new().mode(0o700).create(&new).map_err(|error| at(&new, error))?;
    let key = new.join("key.pem");
    let mut openssl = tool::OPENSSL.command();
    openssl
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", DAYS, "-subj"])
        .arg(format!("/O=peercam {DEVELOPMENT}/CN={DEVELOPMENT} key, not for cameras in the field"))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(new.join("certificate.pem"));
    tool::OPENSSL.run(&mut openssl)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))
        .map_err(|error| at(&key, error))?;
    match fs::rename(&new, folder) {
        // Somebody else has made one meanwhile: that is it.
        Err(_) if folder.exists() => Ok(()),
        other => Ok(other.map_err(|error| at(folder, error))?),
    }
}

fn is_development(certificate: &Path) -> Result<bool, Error> {
    let mut openssl = tool::OPENSSL.command();
    openssl.args(["x509", "-noout", "-subject", "-in"]).arg(certificate);
    let output = tool::OPENSSL.run(&mut openssl)?;
    Ok(String::from_utf8_lossy(&output.stdout).contains(DEVELOPMENT))
}
