//! Where things lie: the source tree, what is built (`out/<board>/`), what is cached.

use std::path::{Path, PathBuf};

/// The folders that everything else is given paths from.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    cache: PathBuf,
}

/// Why the folders could not be found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No source tree around the current directory.
    #[error(
        "no board/base.toml in {} or any folder above it: run this inside the peercam source tree",
        start.display()
    )]
    NoSourceTree {
        /// Where the search began.
        start: PathBuf,
    },
    /// Neither `XDG_CACHE_HOME` nor `HOME` says where downloads may be kept.
    #[error("neither XDG_CACHE_HOME nor HOME is set: set one, downloads are cached below it")]
    NoHome,
}

impl Workspace {
    /// The source tree that holds `start`, with the user's cache folder.
    ///
    /// # Errors
    /// [`Error::NoSourceTree`] outside the source tree, [`Error::NoHome`] without a home.
    pub fn find(start: &Path) -> Result<Self, Error> {
        let root = start
            .ancestors()
            .find(|folder| folder.join("board/base.toml").is_file())
            .ok_or_else(|| Error::NoSourceTree { start: start.to_owned() })?;
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
            .ok_or(Error::NoHome)?
            .join("peercam");
        Ok(Self::new(root, &cache))
    }

    /// A source tree and a cache folder that are known already.
    #[must_use]
    pub fn new(root: &Path, cache: &Path) -> Self {
        Self { root: root.to_owned(), cache: cache.to_owned() }
    }

    /// The top of the source tree.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `board/`: one folder a board.
    #[must_use]
    pub fn boards(&self) -> PathBuf {
        self.root.join("board")
    }

    /// The list of the Debian packages that images are made of.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join(crate::lock::FILE)
    }

    /// `out/<board>/`: the image and its manifest; what they are made of is in `build/`.
    #[must_use]
    pub fn out(&self, board: &str) -> PathBuf {
        self.root.join("out").join(board)
    }

    /// The finished disk image of a board.
    #[must_use]
    pub fn image(&self, board: &str) -> PathBuf {
        self.out(board).join(format!("peercam-{board}.img"))
    }

    /// The manifest that lies beside the image.
    #[must_use]
    pub fn manifest(&self, board: &str) -> PathBuf {
        self.out(board).join("manifest.json")
    }

    /// The copyright file of the Rust library that is linked into the programs of a board's image.
    #[must_use]
    pub fn standard_library_copyright(&self, board: &str) -> PathBuf {
        self.out(board).join("build/rust-std.copyright")
    }

    /// The user's cache: downloads, unpacked packages, package lists.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }
}
