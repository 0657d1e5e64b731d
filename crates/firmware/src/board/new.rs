//! A folder for a new board, which inherits from one that there is.

use std::fs;
use std::path::PathBuf;

use super::check::is_kebab_case;
use super::{Board, Error, FILE, merge};
use crate::workspace::Workspace;

/// The shared file that makes any board one for development: a shell on the serial console,
/// and test picture and sound.
pub const DEVELOPMENT: &str = "dev";

/// What a new board is to be.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Its name, in kebab-case.
    pub name: String,
    /// The board or shared file that it inherits from.
    pub from: String,
    /// Whether it is a variant for development.
    pub development: bool,
}

/// Why there is no new board.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// A name that no board can have.
    #[error(
        "{0:?} can't be a board's name: write small letters, digits and single hyphens, such as \
         \"front-door\""
    )]
    Name(String),
    /// It is taken.
    #[error("there is {} already: choose another name, or edit it", .0.display())]
    Exists(PathBuf),
    /// There is nothing of the name to inherit from.
    #[error("there is nothing named {name:?} to inherit from; there are: {}", known.join(", "))]
    NoParent {
        /// What was asked for.
        name: String,
        /// Boards and shared files.
        known: Vec<String>,
    },
    /// The boards that there are can't be listed.
    #[error(transparent)]
    Boards(#[from] Error),
    /// It can't be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Makes `board/<name>/board.toml`, two lines; returns its path.
///
/// # Errors
/// [`NotMade`]; then nothing was written.
pub fn make(workspace: &Workspace, wish: &Wish) -> Result<PathBuf, NotMade> {
    let Wish { name, from, development } = wish;
    if !is_kebab_case(name) {
        return Err(NotMade::Name(name.clone()));
    }
    let boards = workspace.boards();
    let folder = boards.join(name);
    let taken = [folder.clone(), boards.join(format!("{name}.toml"))];
    if let Some(path) = taken.into_iter().find(|path| path.exists()) {
        return Err(NotMade::Exists(path));
    }
    for name in std::iter::once(from.as_str()).chain(development.then_some(DEVELOPMENT)) {
        if !is_kebab_case(name) || !merge::path_of(&boards, name).is_file() {
            return Err(NotMade::NoParent { name: name.to_owned(), known: parents(workspace)? });
        }
    }

    let (parents, what) = if *development {
        (format!("[\"{from}\", \"{DEVELOPMENT}\"]"), "for development: shell, test picture")
    } else {
        (format!("\"{from}\""), "a variant")
    };
    let text = format!("inherits = {parents}\ndescription = \"{from}, {what}\"\n");
    let path = folder.join(FILE);
    fs::create_dir(&folder).map_err(|source| NotMade::Write { path: folder.clone(), source })?;
    match fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(source) => {
            // What was begun goes again; why it failed is what counts.
            let _ = fs::remove_dir_all(&folder);
            Err(NotMade::Write { path, source })
        }
    }
}

/// All that a board can inherit from: shared files first, then boards.
fn parents(workspace: &Workspace) -> Result<Vec<String>, Error> {
    let folder = workspace.boards();
    let read = |source| Error::Read { path: folder.clone(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            names.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    names.sort();
    names.extend(Board::list(workspace)?);
    Ok(names)
}
