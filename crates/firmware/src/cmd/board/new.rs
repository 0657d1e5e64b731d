//! `board new`.

use std::path::Path;

use clap::Args;
use peercam_firmware::board::{self, check, new};
use peercam_firmware::workspace::Workspace;

use crate::cmd::UsageError;

/// Make the folder of a new board: two lines to begin with
#[derive(Debug, Args)]
pub(super) struct New {
    /// Its name: small letters, digits and single hyphens
    name: String,
    /// What it inherits from: a board, or a shared file such as "base"
    #[arg(long, value_name = "NAME")]
    from: String,
    /// For development: with a shell on the serial console and a test picture (board/dev.toml)
    #[arg(long)]
    dev: bool,
}

impl New {
    pub(super) fn run(self, workspace: &Workspace) -> anyhow::Result<()> {
        let Self { name, from, dev } = self;
        let wish = new::Wish { name, from, development: dev };
        let path = new::make(workspace, &wish).map_err(|error| match error {
            new::NotMade::Write { .. } => anyhow::Error::from(error),
            usage => UsageError(usage.into()).into(),
        })?;
        println!("{}", shown(&path));
        // What it still lacks is what to write next.
        let lacks: Vec<board::Error> =
            check::board(workspace, &wish.name).err().into_iter().flatten().collect();
        for lack in &lacks {
            eprintln!("to do: {lack}");
        }
        let next = if lacks.is_empty() { "build --board" } else { "board check" };
        eprintln!("then: peercam-firmware {next} {}", wish.name);
        Ok(())
    }
}

/// From here, where that is shorter.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
