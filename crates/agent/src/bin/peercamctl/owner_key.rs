//! `peercamctl owner-key`

use std::path::{Path, PathBuf};

use peercam_agent::{control_socket::Answer, key_file};
use peercam_protocol::SecretKey;

use crate::{Common, Failure, agent, say};

/// Make or show a key that signs links without the camera
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  peercamctl owner-key new owner.pem
      prints the public half: put it into [access] owner-keys of each camera that is to take
      links that this key signs
  peercamctl owner-key show owner.pem
  peercamctl share --owner-key owner.pem --camera KEY --server https://cam.example.org

Keep the file where the cameras are not. It is PKCS #8 in PEM, as openssl genpkey -algorithm
ed25519 makes it; whoever has it can let anybody in.")]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a new key in FILE, which must not be there, and print its public half
    New {
        /// Where to keep it, readable for you only
        file: PathBuf,
    },
    /// Print the public half of the key in FILE
    Show {
        /// The key
        file: PathBuf,
    },
}

/// Reads an owner's key, and says so where others can read it too.
pub fn read(file: &Path) -> Result<SecretKey, key_file::Error> {
    let key = key_file::read(file)?;
    if key_file::is_exposed(file) {
        let file = file.display();
        say::hint(format_args!(
            "{file} can be read by others, who can let in anybody then: chmod 600 {file}"
        ));
    }
    Ok(key)
}

impl Arguments {
    /// The verb.
    pub fn run(&self, common: &Common) -> Result<(), Failure> {
        let (key, said) = match &self.verb {
            Verb::New { file } => (key_file::create(file), "A new owner's key"),
            Verb::Show { file } => (read(file), "An owner's key"),
        };
        let key = key.map_err(|error| Failure::Refused(error.to_string()))?.public();
        match common.json {
            true => agent::print(&Answer::success(said, key)),
            false => say::data(key),
        }
    }
}
