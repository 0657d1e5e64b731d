//! `board`: the boards that there are, what is wrong with them, new ones.

mod check;
mod list;
mod new;

use clap::{Args, Subcommand};

use super::workspace;

/// List the boards, check them, make a new one
#[derive(Debug, Args)]
pub struct Boards {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::List),
    Check(check::Check),
    New(new::New),
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
