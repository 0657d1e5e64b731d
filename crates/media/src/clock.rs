//! The clock drawn into the picture: for people as `HH:MM:SS.mmm` (UTC), for programs as cells.
//!
//! It says when the frame was captured, so that whoever sees the decoded picture knows how old it
//! is. The cells survive H.264 at low bit rates: each is larger than a macroblock at usual sizes,
//! plain black or white, and the whole is guarded by a checksum.
//!
//! # The cells
//! All in luma, from the top left corner of the picture, without a margin:
//!
//! - the side of a cell is `max(4, floor(width / 160) * 4)` pixels: 16 at 640, 32 at 1280;
//! - there are two rows of 32 cells, read row by row from the left, white is 1, black is 0;
//! - cells 0–7: the marker `1 0 1 1 0 0 1 0`; half way between the mean of its white and the mean
//!   of its black cells is the threshold for all others;
//! - cells 8–55: 48 bits, milliseconds since the Unix epoch, most significant bit first;
//! - cells 56–63: CRC-8 (polynomial 0x07, start 0, as in ITU-T I.432.1 without its final xor) of
//!   those six bytes, most significant bit first.
//!
//! Read the mean of a cell's inner half, away from its edges. In JavaScript, bit arithmetic ends at
//! 32 bits: multiply by two and add. The readable time stands below the cells.

/// Narrowest picture the clock fits into, in pixels.
pub const MIN_WIDTH: u32 = 160;
/// Lowest picture the clock fits into, in pixels.
pub const MIN_HEIGHT: u32 = 32;

/// Whether the clock fits into a picture of this size.
pub fn fits(width: u32, height: u32) -> bool {
    width >= MIN_WIDTH && height >= MIN_HEIGHT && height >= cell(width as usize) as u32 * 4
}

fn cell(width: usize) -> usize {
    (width / 160 * 4).max(4)
}
