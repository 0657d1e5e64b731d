//! `board check`.

use clap::Args;
use peercam_firmware::board::{Board, check};
use peercam_firmware::workspace::Workspace;

use crate::cmd::UsageError;

/// Check boards with all they inherit, and the files beside them
///
/// Each thing that is wrong is a line on standard output: the file, the line in it, what
/// is wrong, the way out. Without NAME, all boards and shared files are checked. The exit
/// status is 2 when anything is wrong.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The boards to check
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Check {
    pub(super) fn run(self, workspace: &Workspace) -> anyhow::Result<()> {
        let (names, mut problems) = if self.names.is_empty() {
            (Board::list(workspace)?, check::shared(workspace))
        } else {
            (self.names, Vec::new())
        };
        for name in &names {
            problems.extend(check::board(workspace, name).err().into_iter().flatten());
        }
        // Boards share ancestors, and so their mistakes.
        let mut lines: Vec<String> = Vec::new();
        for problem in &problems {
            let line = problem.to_string();
            if !lines.contains(&line) {
                println!("{line}");
                lines.push(line);
            }
        }
        if lines.is_empty() {
            eprintln!("{}: nothing wrong", names.join(", "));
            return Ok(());
        }
        let things = if lines.len() == 1 { "thing is" } else { "things are" };
        Err(UsageError(anyhow::anyhow!("{} {things} wrong: see above", lines.len())).into())
    }
}
