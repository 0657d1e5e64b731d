//! The library behind `peercam-firmware`: from a board's description to a disk image, and
//! from the image to a guest in QEMU. The program is a thin shell around it; the testbed
//! uses [`qemu`] by itself.
//!
//! | module | holds |
//! |---|---|
//! | [`workspace`] | where things lie: source tree, `out/`, cache |
//! | [`board`] | [`board::Board`]: `board.toml` with all it inherits, checked |
//! | [`build`] | the steps from a board to its image, each done only when an input changed |
//! | [`debian`] | an apt of our own: packages resolved, downloaded, checked, unpacked |
//! | [`lock`] | `firmware.lock`: which packages, by version and hash |
//! | [`closure`] | which files of them a root needs |
//! | [`elf`] | what a program or library needs to run |
//! | [`modules`] | which kernel modules are needed, in which order |
//! | [`cpio`] | the archive format of an initramfs |
//! | [`manifest`] | what is in an image |
//! | [`sizes`], [`compare`] | what weighs how much, against the budget and against another image |
//! | [`sbom`], [`licences`], [`crates`] | the bill of materials, the licences of what is in it, its crates |
//! | [`cargo`] | asking cargo about the source tree |
//! | [`qemu`] | a working copy of the image, and QEMU's command line |
//! | [`bundle`] | a signed update for one slot |
//! | [`flash`] | an image written to a disk, such that it boots only when it is right |
//! | [`doctor`] | whether this machine has all that is needed |
//! | [`progress`], [`tool`], [`hash`], [`size`] | steps on a terminal, other programs, fingerprints, `20 MB` |

pub mod board;
pub mod build;
pub mod bundle;
pub mod cargo;
pub mod closure;
pub mod compare;
pub mod cpio;
pub mod crates;
pub mod debian;
pub mod doctor;
pub mod elf;
pub mod flash;
pub mod hash;
pub mod licences;
pub mod lock;
pub mod manifest;
pub mod modules;
pub mod progress;
pub mod qemu;
pub mod sbom;
pub mod size;
pub mod sizes;
pub mod tool;
pub mod workspace;
