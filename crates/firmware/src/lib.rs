//! The library behind `peercam-firmware`.
pub mod board;
pub mod build;
pub mod closure;
pub mod cpio;
pub mod debian;
pub mod doctor;
pub mod elf;
pub mod hash;
pub mod manifest;
pub mod modules;
pub mod progress;
pub mod qemu;
pub mod size;
pub mod sizes;
pub mod tool;
pub mod workspace;
