//! A picture that is hard to compress: without it the encoder stays far below its bit rate.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use peercam_testbed::Bed;

const WIDTH: usize = 1280;
const HEIGHT: usize = 720;
const FRAMERATE: usize = 30;
/// One second, which the camera plays in a loop.
const FRAMES: usize = 30;
/// Noise added to each pixel, at most: so much that 2 Mbit/s are not enough.
const NOISE: u32 = 24;

/// Writes one second of a moving, noisy picture (YUV4MPEG2, which needs no encoder).
pub fn write(bed: &Bed) -> Result<PathBuf> {
    let path = bed.file("busy.y4m");
    let what = || format!("writing {}", path.display());
    let mut file = BufWriter::new(File::create(&path).with_context(what)?);
    writeln!(file, "YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FRAMERATE}:1 Ip A1:1 C420jpeg")
        .with_context(what)?;
    // The same noise every time (xorshift32, Marsaglia 2003).
    let mut noise = 0x9E37_79B9_u32;
    let mut plane = vec![0; WIDTH * HEIGHT];
    for frame in 0..FRAMES {
        for (index, pixel) in plane.iter_mut().enumerate() {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let (x, y) = (index % WIDTH, index / WIDTH);
            let slope = (x / 8 + y / 8 + frame * 4) % 128;
            *pixel = 48 + slope as u8 + (noise % NOISE) as u8;
        }
        file.write_all(b"FRAME\n").with_context(what)?;
        file.write_all(&plane).with_context(what)?;
        file.write_all(&[128; WIDTH * HEIGHT / 2]).with_context(what)?;
    }
    file.flush().with_context(what)?;
    Ok(path)
}
