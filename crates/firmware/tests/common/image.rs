//! A disk image small enough for a test, with everything that matters when it is written.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub const MIB: u64 = 1 << 20;
/// Not a multiple of anything but of sectors, as the real one.
pub const BYTES: u64 = 9 * MIB + 33 * 512;
/// A stretch of the image that is a hole.
pub const HOLE: std::ops::Range<u64> = 4 * MIB..8 * MIB;

/// `folder/peercam-camera.img` and its `manifest.json`.
pub fn make(folder: &Path) -> Vec<u8> {
    let mut image = vec![0; BYTES as usize];
    let mut noise = 1_u64;
    for stretch in [MIB..HOLE.start, HOLE.end..9 * MIB] {
        for byte in &mut image[stretch.start as usize..stretch.end as usize] {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (noise >> 56) as u8;
        }
    }
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image[512..520].copy_from_slice(b"EFI PART");
    // 8a1c5f0e-6d0b-4f3e-9c53-7065657263a0, as it stands on a disk.
    let uuid = [
        0x0e, 0x5f, 0x1c, 0x8a, 0x0b, 0x6d, 0x3e, 0x4f, 0x9c, 0x53, 0x70, 0x65, 0x65, 0x72, 0x63,
        0xa0,
    ];
    image[568..584].copy_from_slice(&uuid);
    image[584] = 2;
    image[592] = 128;
    image[596] = 128;
    let (first, last) = (2048_u64, 2048 + 3 * 2048 - 1_u64);
    image[1024..1040].copy_from_slice(&uuid);
    image[1056..1064].copy_from_slice(&first.to_le_bytes());
    image[1064..1072].copy_from_slice(&last.to_le_bytes());
    for (at, letter) in "boot".bytes().enumerate() {
        image[1080 + 2 * at] = letter;
    }
    let backup = BYTES as usize - 512;
    image[backup..backup + 8].copy_from_slice(b"EFI PART");

    let path = folder.join("peercam-camera.img");
    std::fs::create_dir_all(folder).unwrap();
    let file = File::create(&path).unwrap();
    file.set_len(BYTES).unwrap();
    file.write_all_at(&image[..HOLE.start as usize], 0).unwrap();
    file.write_all_at(&image[HOLE.end as usize..], HOLE.end).unwrap();
    let manifest = serde_json::json!({
        "board": "camera",
        "architecture": "arm64",
        "parts": [],
        "packages": [],
        "partitions": [],
        "image_sha256": peercam_firmware::hash::file(&path).unwrap(),
    });
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    image
}

/// Whether a disk has anything that could be taken for a partition table: at its beginning,
/// where the image's backup is, and at its own end.
pub fn has_a_table(disk: &[u8]) -> bool {
    disk[..MIB as usize].iter().any(|byte| *byte != 0)
        || disk[BYTES as usize - 33 * 512..BYTES as usize].iter().any(|byte| *byte != 0)
        || disk[disk.len() - 33 * 512..].iter().any(|byte| *byte != 0)
}
