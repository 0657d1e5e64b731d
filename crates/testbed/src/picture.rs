//! A picture that is hard to compress: without it the encoder stays far below its bit rate.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::{
    Bed,
    error::{Error, Result},
};

const FRAMERATE: usize = 30;
/// One second, which the camera plays in a loop.
const FRAMES: usize = 30;
/// Noise added to each pixel, at most: so much that 2 Mbit/s are not enough.
const NOISE: u32 = 24;

/// Writes one second of a moving, noisy picture of this size in pixels (YUV4MPEG2, which needs no
/// encoder).
pub fn busy(bed: &Bed, width: usize, height: usize) -> Result<PathBuf> {
    let path = bed.file("busy.y4m");
    write(&path, width, height).map_err(Error::io(format!("writing {}", path.display())))?;
    Ok(path)
}

fn write(path: &Path, width: usize, height: usize) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "YUV4MPEG2 W{width} H{height} F{FRAMERATE}:1 Ip A1:1 C420jpeg")?;
    // The same noise every time (xorshift32, Marsaglia 2003).
    let mut noise = 0x9E37_79B9_u32;
    let mut plane = vec![0; width * height];
    for frame in 0..FRAMES {
        for (index, pixel) in plane.iter_mut().enumerate() {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let (x, y) = (index % width, index / width);
            let slope = (x / 8 + y / 8 + frame * 4) % 128;
            *pixel = 48 + slope as u8 + (noise % NOISE) as u8;
        }
        file.write_all(b"FRAME\n")?;
        file.write_all(&plane)?;
        file.write_all(&vec![128; width * height / 2])?;
    }
    file.flush()
}
