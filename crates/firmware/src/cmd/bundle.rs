//! `bundle`: an update for one slot of a board, signed.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use peercam_firmware::bundle::key::{DEVELOPMENT, Signer};
use peercam_firmware::bundle::{Contents, make};
use peercam_firmware::progress::Progress;
use peercam_firmware::size::Size;

use super::{BoardArgument, UsageError};

/// Make a signed update of a board's image (a RAUC bundle), and verify it
///
/// It holds what `build` made for one slot, is taken by cameras of this board only
/// (`compatible`), and of these by such as have the signer in their keyring.
///
/// Without --key, a development key signs. It is made on first use, in
/// ~/.config/peercam/development-update-key, says DEVELOPMENT in its subject, and so does
/// the name of the bundle: only boards for development should have it in their keyring.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:\n  \
        peercam-firmware bundle --board front-door\n  \
        peercam-firmware bundle --board front-door --release 1.4.2 --key key.pem \\\n      \
          --certificate signer.pem --keyring authority.pem\n  \
        RAUC_PKCS11_PIN=… peercam-firmware bundle --board front-door --release 1.4.2 \\\n      \
          --key 'pkcs11:token=updates;object=signer;type=private' \\\n      \
          --certificate signer.pem --keyring authority.pem\n\n\
        With a PKCS#11 token, RAUC_PKCS11_MODULE may name its module, and RAUC_PKCS11_PIN\n\
        has its PIN. Standard output is the bundle's path, or JSON.\n\
        Exit status: 0 made and verified; 1 failed; 2 wrong usage."
)]
pub struct Bundle {
    #[command(flatten)]
    board: BoardArgument,
    /// The version of the update
    #[arg(long, value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    release: String,
    /// The private key: a PEM file, or a PKCS#11 URI
    #[arg(long, value_name = "FILE|URI", requires = "certificate")]
    key: Option<String>,
    /// Its certificate: a PEM file, or a PKCS#11 URI
    #[arg(long, value_name = "FILE|URI", requires = "key")]
    certificate: Option<String>,
    /// The certificates that cameras check it with, if not the signer's own
    #[arg(long, value_name = "FILE", requires = "key")]
    keyring: Option<PathBuf>,
    /// Where to put it [default: out/NAME/peercam-NAME-VERSION.raucb]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print what is in it as JSON
    #[arg(long)]
    json: bool,
}

impl Bundle {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (workspace, board) = self.board.load()?;
        let out = workspace.out(&board.name);
        let contents = Contents::of_board(&out, &board.name, &self.release)?;
        let progress = Progress::to_stderr();
        let signer = match (&self.key, &self.certificate) {
            (Some(key), Some(certificate)) => {
                Signer::named(key, certificate, self.keyring.as_deref())
                    .map_err(|error| UsageError(error.into()))?
            }
            _ => Signer::development(&development_folder()?)?,
        };
        if signer.development {
            progress.note(&format!(
                "signed with a {DEVELOPMENT} key ({}): not for cameras in the field",
                signer.certificate
            ));
        }
        let suffix = if signer.development { format!("-{DEVELOPMENT}") } else { String::new() };
        let name = format!("peercam-{}-{}{suffix}.raucb", board.name, self.release);
        let output = self.output.unwrap_or_else(|| out.join(name));
        let step = progress.step("bundle");
        let bundle = make(&contents, &signer, &output)?;
        step.done(&Size::bytes(bundle.bytes).to_string());
        if self.json {
            println!("{}", serde_json::to_string_pretty(&bundle)?);
        } else {
            println!("{}", bundle.path.display());
        }
        Ok(())
    }
}

/// Below the user's configuration: a cache may be removed at any time, and cameras on the
/// bench know this key.
fn development_folder() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base =
        base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let base = base
        .context("neither XDG_CONFIG_HOME nor HOME is set: the development key is kept below it")?;
    Ok(base.join("peercam/development-update-key"))
}
