//! The disk that a guest writes to: made from the image, provisioned like a card in a
//! reader, kept while the image stays the same.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use common::Tree;
use peercam_firmware::manifest::{Manifest, Partition, Programs};
use peercam_firmware::qemu::WorkingCopy;

const MIB: u64 = 1 << 20;

/// Builds an "image": a FAT partition at 1 MiB, 8 MiB long, and 1 MiB for /data after it.
fn image(tree: Tree, sha256: &str, data: &[u8]) -> Tree {
    let path = tree.path("out/camera/peercam-camera.img");
    let tree = tree.file("out/camera/peercam-camera.img", "");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(10 * MIB).unwrap();
    let fat = tree.path("fat");
    std::fs::File::create(&fat).unwrap().set_len(8 * MIB).unwrap();
    let made = Command::new("/sbin/mkdosfs").arg(&fat).output().unwrap();
    assert!(made.status.success());
    file.write_all_at(&std::fs::read(&fat).unwrap(), MIB).unwrap();
    file.write_all_at(data, 9 * MIB).unwrap();
    let partition = |name: &str, start, size| Partition { name: name.to_owned(), start, size };
    let manifest = Manifest {
        board: "camera".to_owned(),
        architecture: "arm64".to_owned(),
        suite: "trixie".to_owned(),
        parts: Vec::new(),
        packages: Vec::new(),
        programs: Programs::default(),
        partitions: vec![partition("boot", MIB, 8 * MIB), partition("data", 9 * MIB, MIB)],
        image_sha256: sha256.to_owned(),
    };
    tree.file("out/camera/manifest.json", serde_json::to_string(&manifest).unwrap())
}

fn prepare(tree: &Tree) -> WorkingCopy {
    WorkingCopy::prepare(&tree.workspace(), "camera", &tree.path("run")).unwrap()
}

fn data_of(copy: &WorkingCopy) -> String {
    let mut data = [0; 5];
    std::fs::File::open(copy.path()).unwrap().read_exact_at(&mut data, 9 * MIB).unwrap();
    String::from_utf8_lossy(&data).into_owned()
}

fn write_data(copy: &WorkingCopy, data: &str) {
    let file = std::fs::File::options().write(true).open(copy.path()).unwrap();
    file.write_all_at(data.as_bytes(), 9 * MIB).unwrap();
}

#[test]
fn a_file_put_on_the_boot_partition_is_there_and_the_image_is_untouched() {
    let tree = image(Tree::new(), "1", b"fresh");
    let original = std::fs::read(tree.path("out/camera/peercam-camera.img")).unwrap();
    let copy = prepare(&tree);
    assert_eq!(copy.read_boot_file("peercam.toml").unwrap(), None);
    copy.write_boot_file("peercam.toml", b"room = \"one\"\n").unwrap();
    copy.write_boot_file("peercam.toml", b"room = \"two\"\n").unwrap();
    assert_eq!(copy.read_boot_file("peercam.toml").unwrap().unwrap(), b"room = \"two\"\n");
    assert_eq!(std::fs::read(tree.path("out/camera/peercam-camera.img")).unwrap(), original);
}

#[test]
fn what_the_guest_wrote_is_kept_while_the_image_is_the_same() {
    let tree = image(Tree::new(), "1", b"fresh");
    let copy = prepare(&tree);
    copy.write_boot_file("peercam.toml", b"x").unwrap();
    write_data(&copy, "mine!");
    let copy = prepare(&tree);
    assert_eq!(data_of(&copy), "mine!");
    assert!(copy.read_boot_file("peercam.toml").unwrap().is_some());
}

#[test]
fn a_new_image_replaces_everything_but_data() {
    let tree = image(Tree::new(), "1", b"fresh");
    let copy = prepare(&tree);
    copy.write_boot_file("peercam.toml", b"x").unwrap();
    write_data(&copy, "mine!");
    let tree = image(tree, "2", b"newer");
    let copy = prepare(&tree);
    assert_eq!(data_of(&copy), "mine!");
    assert_eq!(copy.read_boot_file("peercam.toml").unwrap(), None);
}

#[test]
fn the_copy_takes_no_more_room_than_what_is_written() {
    let tree = image(Tree::new(), "1", b"fresh");
    let copy = prepare(&tree);
    let metadata = std::fs::metadata(copy.path()).unwrap();
    assert_eq!(metadata.len(), 10 * MIB);
    assert!(metadata.blocks() * 512 < 2 * MIB, "{} blocks", metadata.blocks());
}

#[test]
fn without_an_image_the_error_says_how_to_build_one() {
    let tree = Tree::new();
    let error = WorkingCopy::prepare(&tree.workspace(), "camera", &tree.path("run")).unwrap_err();
    assert!(error.to_string().contains("peercam-firmware build --board camera"), "{error}");
}
