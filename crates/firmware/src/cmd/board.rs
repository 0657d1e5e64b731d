//! `board`: the boards that there are, what is wrong with them, new ones.

use std::path::Path;

use clap::{Args, Subcommand};
use peercam_firmware::board::{self, Board, check, new};
use peercam_firmware::workspace::Workspace;
use serde::Serialize;

use super::{UsageError, workspace};

/// List the boards, check them, make a new one
#[derive(Debug, Args)]
pub struct Boards {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the boards of this source tree
    List(List),
    /// Check boards with all they inherit, and the files beside them
    ///
    /// Each thing that is wrong is a line on standard output: the file, the line in it, what
    /// is wrong, the way out. Without NAME, all boards and shared files are checked. The exit
    /// status is 2 when anything is wrong.
    Check(Check),
    /// Make the folder of a new board: two lines to begin with
    New(New),
}

#[derive(Debug, Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Check {
    /// The boards to check
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct New {
    /// Its name: small letters, digits and single hyphens
    name: String,
    /// What it inherits from: a board, or a shared file such as "base"
    #[arg(long, value_name = "NAME")]
    from: String,
    /// For development: with a shell on the serial console and a test picture (board/dev.toml)
    #[arg(long)]
    dev: bool,
}

impl Boards {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let workspace = workspace()?;
        match self.verb {
            Verb::List(verb) => verb.run(&workspace),
            Verb::Check(verb) => verb.run(&workspace),
            Verb::New(verb) => verb.run(&workspace),
        }
    }
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
    fn run(self, workspace: &Workspace) -> anyhow::Result<()> {
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

impl Check {
    fn run(self, workspace: &Workspace) -> anyhow::Result<()> {
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

impl New {
    fn run(self, workspace: &Workspace) -> anyhow::Result<()> {
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
