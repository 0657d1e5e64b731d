//! The two encodes of one picture.

use std::ops::{Index, IndexMut};

/// One of the two encodes of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stream {
    /// In full size, for everybody whose network carries it.
    #[default]
    Main,
    /// Smaller, for those whose network doesn't.
    Sub,
}

impl Stream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Main, Self::Sub];
}

/// One of something for each encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Each<T> {
    pub main: T,
    pub sub: T,
}

impl<T> Index<Stream> for Each<T> {
    type Output = T;

    fn index(&self, stream: Stream) -> &T {
        match stream {
            Stream::Main => &self.main,
            Stream::Sub => &self.sub,
        }
    }
}

impl<T> IndexMut<Stream> for Each<T> {
    fn index_mut(&mut self, stream: Stream) -> &mut T {
        match stream {
            Stream::Main => &mut self.main,
            Stream::Sub => &mut self.sub,
        }
    }
}
