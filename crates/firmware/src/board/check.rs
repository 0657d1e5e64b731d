//! Everything that is wrong with a board: what its file says, and the files beside it that
//! a build would use.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::Place;
use super::{Board, Error, FILE, merge, validate};
use crate::workspace::Workspace;

/// What a folder in `board/` may have; `overlay` is a folder.
const KNOWN: [&str; 5] = [FILE, "agent.toml", "boot.cmd", "overlay", "README.md"];

/// What boot.cmd has in the place of the kernel's command line.
const COMMAND_LINE: &str = "@command-line@";

/// Folders of the root that are links into `usr`.
const LINKS: [&str; 3] = ["bin", "lib", "sbin"];

/// Checks the board `name` with all it inherits.
///
/// # Errors
/// Everything that is wrong: each error names the file, the line where there is one, and the
/// way out.
pub fn board(workspace: &Workspace, name: &str) -> Result<Board, Vec<Error>> {
    let known = Board::list(workspace).map_err(|error| vec![error])?;
    if !known.iter().any(|board| board == name) {
        return Err(vec![Error::Unknown { name: name.to_owned(), known }]);
    }
    let boards = workspace.boards();
    let merged = merge::load(&boards, name)?;
    let lineage = merged.lineage.clone();
    let own = boards.join(name).join(FILE);
    let mut problems = Vec::new();
    if !is_kebab_case(name) {
        problems.push(invalid(
            Place::file(&own),
            "a board's folder is named in small letters, digits and single hyphens, such as \
             \"front-door\": rename it",
        ));
    }
    let respawn = merged.raw.respawn.clone();
    let places: Vec<(String, Place)> = respawn
        .into_iter()
        .map(|program| {
            let place = merged.sources.place(&["respawn", &program]);
            (program, place)
        })
        .collect();
    for folder in &lineage {
        strangers(folder, &mut problems);
    }
    match validate::board(name, merged) {
        Ok(board) => {
            companions(workspace, &board, places, &mut problems);
            if problems.is_empty() { Ok(board) } else { Err(problems) }
        }
        Err(mut found) => {
            found.append(&mut problems);
            Err(found)
        }
    }
}

/// Checks what lies in `board/` beside the boards: shared files by themselves, folders that
/// belong to nothing. Returns all that is wrong.
#[must_use]
pub fn shared(workspace: &Workspace) -> Vec<Error> {
    let boards = workspace.boards();
    let mut problems = Vec::new();
    for path in list(&boards, &mut problems) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "toml") {
            problems.extend(merge::check_file(&path).err());
            let folder = boards.join(&name);
            if folder.join(FILE).is_file() {
                problems.push(invalid(
                    Place::file(&path),
                    &format!(
                        "{name} is a shared file and a board ({}) at once: rename one",
                        folder.join(FILE).display()
                    ),
                ));
            }
        } else if path.is_dir() && !merge::path_of(&boards, &name).is_file() {
            problems.push(invalid(
                Place::file(&path),
                &format!(
                    "a folder without a {FILE}, and without a {name}.toml beside it: no board has \
                     anything of it"
                ),
            ));
        }
    }
    problems
}

/// Files that nothing reads, which most likely are misspelt.
fn strangers(folder: &Path, problems: &mut Vec<Error>) {
    if !folder.is_dir() {
        return;
    }
    for path in list(folder, problems) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !KNOWN.contains(&name.as_ref()) {
            problems.push(invalid(
                Place::file(&path),
                &format!("nothing reads this; a board's folder may have: {}", KNOWN.join(", ")),
            ));
        }
    }
}

/// The files that a build takes from the board's folders.
fn companions(
    workspace: &Workspace,
    board: &Board,
    respawn: Vec<(String, Place)>,
    problems: &mut Vec<Error>,
) {
    match board.agent_config() {
        Ok(path) => agent_config(&path, problems),
        Err(error) => problems.push(error),
    }
    match board.boot_script() {
        Ok(path) => boot_script(&path, problems),
        Err(error) => problems.push(error),
    }
    if board.description.trim().is_empty() {
        let path = board.lineage.last().cloned().unwrap_or_default().join(FILE);
        problems.push(Error::Missing { path, key: "description" });
    }

    let mut overlays = board.overlays();
    for overlay in &overlays {
        for path in LINKS.map(|link| overlay.join(link)).into_iter().filter(|path| path.exists()) {
            let link = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            problems.push(invalid(
                Place::file(&path),
                &format!("/{link} is a link to /usr/{link}: put it there"),
            ));
        }
    }
    overlays.push(workspace.root().join("rootfs-overlay"));
    for (program, place) in respawn {
        let path = program.trim_start_matches('/');
        let brought = program.starts_with('/')
            && (board.files.contains_key(path)
                || overlays.iter().any(|overlay| overlay.join(path).is_file()));
        if !brought {
            problems.push(Error::Invalid {
                place,
                message: format!(
                    "`respawn`: nothing brings {program:?} into the root: name a file of an \
                     overlay or of `files`, with a slash before it"
                ),
            });
        }
    }
}

/// Its keys are the agent's own business, its syntax is not.
fn agent_config(path: &Path, problems: &mut Vec<Error>) {
    if let Some(text) = read(path, problems)
        && let Err(error) = text.parse::<toml::Table>()
    {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        problems.push(Error::Syntax { place: Place::of(path, &text, &error), message });
    }
}

fn boot_script(path: &Path, problems: &mut Vec<Error>) {
    if let Some(text) = read(path, problems)
        && !text.contains(COMMAND_LINE)
    {
        problems.push(invalid(
            Place::file(path),
            &format!(
                "{COMMAND_LINE} is nowhere in it, so the kernel would not find its root: add \
                 `setenv bootargs \"{COMMAND_LINE}\"`"
            ),
        ));
    }
}

/// Small letters, digits, and single hyphens between them.
pub(super) fn is_kebab_case(name: &str) -> bool {
    name.split('-').all(|word| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    })
}

fn list(folder: &Path, problems: &mut Vec<Error>) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()
    });
    match entries {
        Ok(mut paths) => {
            paths.sort();
            paths
        }
        Err(source) => {
            problems.push(Error::Read { path: folder.to_owned(), source });
            Vec::new()
        }
    }
}

fn read(path: &Path, problems: &mut Vec<Error>) -> Option<String> {
    fs::read_to_string(path)
        .map_err(|source| problems.push(Error::Read { path: path.to_owned(), source }))
        .ok()
}

fn invalid(place: Place, message: &str) -> Error {
    Error::Invalid { place, message: message.to_owned() }
}
