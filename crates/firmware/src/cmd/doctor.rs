//! `doctor`: is everything here that the other verbs need?

use clap::Args;
use peercam_firmware::doctor::{self, CURE};

use super::BoardArgument;

/// Look for every program and file that building and running a board needs
///
/// Fails when something is missing, and says how to get it.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    board: BoardArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (workspace, board) = self.board.load()?;
        let findings = doctor::examine(&workspace, &board);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&findings)?);
        } else {
            for finding in &findings {
                let state = match (&finding.version, finding.found) {
                    (_, false) => "MISSING",
                    (Some(version), true) => version,
                    (None, true) => "there",
                };
                println!("{:<52} {state}", finding.name);
            }
        }
        let missing: Vec<_> = findings
            .iter()
            .filter(|finding| !finding.found)
            .map(|finding| {
                let package = finding.package.as_ref();
                let package = package.map(|p| format!(", in the package {p}")).unwrap_or_default();
                format!("{} ({}{package})", finding.name, finding.purpose)
            })
            .collect();
        anyhow::ensure!(
            missing.is_empty(),
            "missing: {}\n`{CURE}` installs what is missing",
            missing.join("; ")
        );
        Ok(())
    }
}
