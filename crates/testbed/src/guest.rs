//! (being written)
/// Guest.
#[derive(Debug)]
pub struct Guest;
