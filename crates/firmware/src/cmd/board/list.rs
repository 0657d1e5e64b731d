//! `board list`.

use clap::Args;
use peercam_firmware::board::Board;
use peercam_firmware::workspace::Workspace;
use serde::Serialize;

/// List the boards of this source tree
#[derive(Debug, Args)]
pub(super) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A line of the list.
#[derive(Serialize)]
struct Listed {
    name: String,
    /// Debian's name of it; none when the board can't be read.
    architecture: Option<&'static str>,
    /// Whether QEMU plays it.
    qemu: bool,
    description: String,
}

impl List {
    pub(super) fn run(self, workspace: &Workspace) -> anyhow::Result<()> {
        let listed: Vec<Listed> = Board::list(workspace)?
            .into_iter()
            .map(|name| match Board::load(workspace, &name) {
                Ok(board) => Listed {
                    name,
                    architecture: Some(board.architecture.debian()),
                    qemu: board.qemu.is_some(),
                    description: board.description,
                },
                Err(_) => Listed {
                    description: format!("broken: `peercam-firmware board check {name}` says why"),
                    name,
                    architecture: None,
                    qemu: false,
                },
            })
            .collect();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&listed)?);
            return Ok(());
        }
        let width = listed.iter().map(|board| board.name.len()).max().unwrap_or_default();
        for Listed { name, architecture, description, .. } in listed {
            println!("{name:<width$}  {:<5}  {description}", architecture.unwrap_or("?"));
        }
        Ok(())
    }
}
