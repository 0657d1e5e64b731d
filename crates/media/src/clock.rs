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
/// Lowest picture the clock fits into, in pixels, at the narrowest width. See [`fits`].
pub const MIN_HEIGHT: u32 = 16;

const COLUMNS: usize = 32;
const ROWS: usize = 2;
/// Stands in the first eight cells.
const MARKER: u8 = 0b1011_0010;
/// Below this difference between white and black the picture shows something else.
const MIN_CONTRAST: u32 = 48;

/// Luma of black and white in the usual video range (ITU-R BT.601).
const BLACK: u8 = 16;
const WHITE: u8 = 235;

/// Whether the clock fits into a picture of this size.
pub fn fits(width: u32, height: u32) -> bool {
    width >= MIN_WIDTH && height as usize >= cell_size(width as usize) * 4
}

/// Draws the clock into the luma plane of a picture: rows of `stride` bytes, of which the first
/// `width` are pixels. Returns whether it fitted; where it doesn't, the picture stays as it is.
pub fn draw(luma: &mut [u8], stride: usize, width: usize, height: usize, unix_ms: u64) -> bool {
    let Some(mut canvas) = Canvas::new(luma, stride, width, height) else { return false };
    let cell = cell_size(width);
    for (index, bit) in bits(unix_ms).enumerate() {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        canvas.fill(column * cell, row * cell, cell, cell, if bit { WHITE } else { BLACK });
    }
    // A band of black with seven rows of dots, as high as the cells.
    let dot = cell / 4;
    let text = time_of_day(unix_ms);
    canvas.fill(0, ROWS * cell, text.len() * 6 * dot + dot, ROWS * cell, BLACK);
    for (index, character) in text.iter().enumerate() {
        let left = dot + index * 6 * dot;
        for (row, dots) in glyph(*character).iter().enumerate() {
            for column in (0..5).filter(|column| dots & (0b1_0000 >> column) != 0) {
                canvas.fill(
                    left + column * dot,
                    ROWS * cell + row * dot + dot / 2,
                    dot,
                    dot,
                    WHITE,
                );
            }
        }
    }
    true
}

/// Reads the cells of a picture's luma plane, as [`draw`] has it: milliseconds since the Unix
/// epoch. `None` if there is no clock in it, or one that can't be made out with certainty.
pub fn read(luma: &[u8], stride: usize, width: usize, height: usize) -> Option<u64> {
    if !has_room(luma.len(), stride, width, height) {
        return None;
    }
    let cell = cell_size(width);
    let mut means = [0; COLUMNS * ROWS];
    for (index, mean) in means.iter_mut().enumerate() {
        let left = index % COLUMNS * cell + cell / 4;
        let top = index / COLUMNS * cell + cell / 4;
        let rows = (top..top + cell / 2).map(|y| luma.get(y * stride + left..).unwrap_or_default());
        let sum: u32 = rows.flat_map(|row| row.iter().take(cell / 2)).map(|p| u32::from(*p)).sum();
        *mean = sum / (cell / 2 * (cell / 2)) as u32;
    }
    let marker = |white: bool| {
        let cells = (0..8).filter(|index| (MARKER >> (7 - index) & 1 == 1) == white);
        cells.map(|index| means[index]).sum::<u32>() / 4
    };
    let (white, black) = (marker(true), marker(false));
    if white < black + MIN_CONTRAST {
        return None;
    }
    let threshold = (white + black) / 2;
    let number = |cells: &[u32]| {
        cells.iter().fold(0u64, |number, mean| number << 1 | u64::from(*mean > threshold))
    };
    let unix_ms = number(&means[8..56]);
    let guards = (number(&means[..8]), number(&means[56..]));
    let sound = guards == (u64::from(MARKER), u64::from(crc8(unix_ms)));
    sound.then_some(unix_ms)
}

/// Side of a cell in pixels: a multiple of four.
fn cell_size(width: usize) -> usize {
    (width / 160 * 4).max(4)
}

/// Whether the clock fits, and the plane is as large as it is said to be.
fn has_room(bytes: usize, stride: usize, width: usize, height: usize) -> bool {
    let (Ok(w), Ok(h)) = (u32::try_from(width), u32::try_from(height)) else { return false };
    let plane =
        stride.checked_mul(height).is_some_and(|size| bytes >= size - (stride - width.min(stride)));
    fits(w, h) && stride >= width && plane
}

/// All cells, in order.
fn bits(unix_ms: u64) -> impl Iterator<Item = bool> {
    let time = unix_ms & 0xffff_ffff_ffff;
    let cells = u64::from(MARKER) << 56 | time << 8 | u64::from(crc8(time));
    (0..64).rev().map(move |bit| cells >> bit & 1 == 1)
}

/// CRC-8 of the six low bytes.
fn crc8(time: u64) -> u8 {
    time.to_be_bytes()[2..].iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

/// `HH:MM:SS.mmm`
fn time_of_day(unix_ms: u64) -> [u8; 12] {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let digit = |number: u64, unit: u64| b'0' + (number / unit % 10) as u8;
    [
        digit(h, 10),
        digit(h, 1),
        b':',
        digit(m, 10),
        digit(m, 1),
        b':',
        digit(s, 10),
        digit(s, 1),
        b'.',
        digit(ms, 100),
        digit(ms, 10),
        digit(ms, 1),
    ]
}

/// Five by seven dots, a row in the low five bits, left to right.
fn glyph(character: u8) -> [u8; 7] {
    match character {
        b'0' => [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
        b'1' => [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
        b'2' => [0x0e, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1f],
        b'3' => [0x1f, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0e],
        b'4' => [0x02, 0x06, 0x0a, 0x12, 0x1f, 0x02, 0x02],
        b'5' => [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
        b'6' => [0x06, 0x08, 0x10, 0x1e, 0x11, 0x11, 0x0e],
        b'7' => [0x1f, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
        b'8' => [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
        b'9' => [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x02, 0x0c],
        b':' => [0x00, 0x04, 0x04, 0x00, 0x04, 0x04, 0x00],
        b'.' => [0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x0c],
        _ => [0; 7],
    }
}

/// A luma plane that is at least as large as the clock.
struct Canvas<'a> {
    luma: &'a mut [u8],
    stride: usize,
    width: usize,
    height: usize,
}

impl<'a> Canvas<'a> {
    fn new(luma: &'a mut [u8], stride: usize, width: usize, height: usize) -> Option<Self> {
        has_room(luma.len(), stride, width, height).then_some(Self { luma, stride, width, height })
    }

    /// Fills a rectangle, as far as it lies in the picture.
    fn fill(&mut self, left: usize, top: usize, width: usize, height: usize, value: u8) {
        let right = (left + width).min(self.width);
        for y in top..(top + height).min(self.height) {
            let row = y * self.stride;
            if let Some(pixels) = self.luma.get_mut(row + left..row + right) {
                pixels.fill(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: [u64; 5] = [0, 1, 1_795_000_000_123, 0xffff_ffff_ffff, 0x5555_5555_5555];

    #[test]
    fn what_is_drawn_is_read_back_at_every_size() {
        for (width, height) in
            [(160, 16), (320, 240), (640, 360), (642, 362), (1280, 720), (4096, 2160)]
        {
            let stride = width + 64;
            let mut luma = vec![90; stride * height];
            for time in TIMES {
                assert!(draw(&mut luma, stride, width, height, time));
                assert_eq!(read(&luma, stride, width, height), Some(time), "{width}x{height}");
            }
        }
    }

    #[test]
    fn it_survives_noise_and_low_contrast() {
        let (width, height) = (640, 360);
        let mut luma = vec![0; width * height];
        draw(&mut luma, width, width, height, TIMES[2]);
        for (index, pixel) in luma.iter_mut().enumerate() {
            let noise = (index * 7919 % 41) as u8;
            *pixel = 60 + *pixel / 2 + noise;
        }
        assert_eq!(read(&luma, width, width, height), Some(TIMES[2]));
    }

    #[test]
    fn one_wrong_cell_is_noticed() {
        let (width, height) = (640, 360);
        for index in 0..64 {
            let mut luma = vec![0; width * height];
            draw(&mut luma, width, width, height, TIMES[2]);
            let mut canvas = Canvas::new(&mut luma, width, width, height).unwrap();
            let bit = bits(TIMES[2]).nth(index).unwrap();
            let (left, top) = (index % COLUMNS * 16, index / COLUMNS * 16);
            canvas.fill(left, top, 16, 16, if bit { BLACK } else { WHITE });
            assert_eq!(read(&luma, width, width, height), None, "cell {index}");
        }
    }

    #[test]
    fn a_picture_without_a_clock_has_no_time() {
        for value in [0, 128, 255] {
            assert_eq!(read(&vec![value; 640 * 360], 640, 640, 360), None);
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        assert!(!fits(158, 120) && !fits(160, 14) && fits(160, 16) && fits(4096, 2160));
        let mut luma = vec![7; 640 * 360];
        for (stride, width, height) in
            [(640, 640, 361), (600, 640, 100), (640, 640, 60), (100, 100, 100)]
        {
            assert!(!draw(&mut luma, stride, width, height, 1));
            assert_eq!(read(&luma, stride, width, height), None);
        }
        assert!(luma.iter().all(|pixel| *pixel == 7));
    }

    #[test]
    fn people_read_the_time_of_day_in_utc() {
        assert_eq!(&time_of_day(1_795_000_000_123), b"11:06:40.123");
        assert_eq!(&time_of_day(0), b"00:00:00.000");
    }
}
