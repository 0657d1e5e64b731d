//! `flash` and disks: what it learns about them from the kernel (in a sysfs of the test's
//! own), and what it does with loop devices, which only root may make.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/image.rs"]
mod image;

use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::Tree;
use image::{BYTES, HOLE, MIB};
use peercam_firmware::flash::disk::{Disk, Kernel, Node, Number};
use peercam_firmware::flash::target::{Allowed, Refusal};
use peercam_firmware::flash::{Image, target};

/// A sysfs and a `/proc`, as the kernel would show them.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        machine
            .file("proc/swaps", "Filename Type Size Used Priority\n")
            .file("proc/self/mountinfo", "22 1 0:21 / /proc rw - proc proc rw\n")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn link(self, path: &str, to: &str) -> Self {
        let (path, to) = (self.path(path), self.path(to));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::create_dir_all(&to).unwrap();
        symlink(to, path).unwrap();
        self
    }

    /// A disk of 4 GB at a place in the tree of devices.
    fn disk(self, folder: &str, number: &str, removable: &str) -> Self {
        self.file(&format!("sys/devices/{folder}/size"), "8000000\n")
            .file(&format!("sys/devices/{folder}/dev"), number)
            .file(&format!("sys/devices/{folder}/removable"), removable)
            .file(&format!("sys/devices/{folder}/ro"), "0\n")
            .file(&format!("sys/devices/{folder}/queue/logical_block_size"), "512\n")
            .link(&format!("sys/dev/block/{number}"), &format!("sys/devices/{folder}"))
    }

    fn partition(self, folder: &str, number: &str) -> Self {
        self.file(&format!("sys/devices/{folder}/partition"), "1\n")
            .file(&format!("sys/devices/{folder}/dev"), number)
            .link(&format!("sys/dev/block/{number}"), &format!("sys/devices/{folder}"))
    }

    /// A USB stick with one partition: sdb, 8:16 and 8:17.
    fn with_a_stick() -> Self {
        let (port, disk) = ("pci0/usb1/1-2", "pci0/usb1/1-2/1-2:1.0/host2/block/sdb");
        Self::new()
            .disk(disk, "8:16", "1\n")
            .partition(&format!("{disk}/sdb1"), "8:17")
            .file(&format!("sys/devices/{port}/idVendor"), "0781\n")
            .file(&format!("sys/devices/{port}/manufacturer"), "SanDisk\n")
            .file(&format!("sys/devices/{port}/product"), "Ultra \x1b[31mFit\n")
            .file(&format!("sys/devices/{port}/serial"), "4C530001\n")
            .link(&format!("sys/devices/{port}/subsystem"), "sys/bus/usb")
            .link(&format!("sys/devices/{disk}/device/subsystem"), "sys/bus/scsi")
    }

    fn kernel(&self) -> Kernel {
        Kernel::at(&self.path("sys"), &self.path("proc"))
    }

    fn look(&self, number: Number) -> Disk {
        match self.kernel().node(number).unwrap() {
            Node::Disk(disk) => disk,
            Node::PartitionOf(disk) => panic!("a partition of {disk}"),
        }
    }

    /// Why a disk is not written to, as words for machines and for people.
    fn refusals(&self, number: Number, image_bytes: u64) -> Vec<Refusal> {
        let disk = self.look(number);
        let image = Image { path: "image".into(), board: None, bytes: image_bytes, sha256: None };
        let path = Path::new("/dev").join(&disk.name);
        target::refusals(&self.kernel(), &disk, &path, &image, Allowed::default()).unwrap()
    }
}

fn reasons(refusals: &[Refusal]) -> Vec<&str> {
    refusals.iter().map(|refusal| refusal.reason).collect()
}

const STICK: Number = (8, 16);

#[test]
fn a_stick_is_described_by_what_stands_on_it() {
    let machine = Machine::with_a_stick();
    let stick = machine.look(STICK);
    assert_eq!(stick.words(), "SanDisk Ultra [31mFit, 4096.0 MB, usb, removable, serial 4C530001");
    assert_eq!(stick.partitions, ["sdb1"]);
    assert_eq!(machine.refusals(STICK, 4_000_000_000), []);
    assert_eq!(machine.kernel().node((8, 17)).unwrap(), Node::PartitionOf("sdb".to_owned()));
}

#[test]
fn a_card_in_a_reader_on_the_mainboard_is_removable_and_a_soldered_chip_is_not() {
    for (kind, removable) in [("SD", true), ("MMC", false)] {
        let disk = "soc/mmc0/mmc0:0001/block/mmcblk0";
        let machine = Machine::new()
            .disk(disk, "179:0", "0\n")
            .file(&format!("sys/devices/{disk}/device/type"), kind)
            .file(&format!("sys/devices/{disk}/device/name"), "SL16G\n")
            .link(&format!("sys/devices/{disk}/device/subsystem"), "sys/bus/mmc");
        let card = machine.look((179, 0));
        assert_eq!((card.removable, card.bus.as_deref()), (removable, Some("mmc")));
        assert_eq!(card.model.as_deref(), Some("SL16G"));
        let expected: &[&str] = if removable { &[] } else { &["fixed-disk"] };
        assert_eq!(reasons(&machine.refusals((179, 0), 1)), expected);
    }
}

#[test]
fn a_mount_of_any_partition_is_found_and_so_is_swap() {
    for (line, point) in [
        ("30 22 8:17 / /media/my\\040card rw - vfat /dev/sdb1 rw", "/media/my card"),
        ("30 22 8:16 / /mnt rw shared:1 - vfat /dev/sdb rw", "/mnt"),
        // A file system over several disks has a number of its own.
        ("30 22 0:55 / /mnt rw - btrfs /dev/sdb1 rw", "/mnt"),
    ] {
        let machine = Machine::with_a_stick().file("proc/self/mountinfo", line);
        let found = machine.refusals(STICK, 1);
        assert_eq!(reasons(&found), ["mounted"], "{line}");
        assert!(found[0].message.contains(&format!("mounted at {point}")), "{}", found[0]);
    }
    let swaps = "Filename Type Size Used Priority\n/dev/sdb1 partition 1 0 -2\n";
    let machine = Machine::with_a_stick().file("proc/swaps", swaps);
    assert_eq!(reasons(&machine.refusals(STICK, 1)), ["swap"]);
    let other = "30 22 8:33 / /mnt rw - vfat /dev/sdc1 rw\n31 22 0:9 / /srv rw - nfs sdb1:/ rw\n";
    let machine = Machine::with_a_stick().file("proc/self/mountinfo", other);
    assert_eq!(machine.refusals(STICK, 1), []);
}

#[test]
fn what_is_built_upon_a_disk_holds_it() {
    let disk = "sys/devices/pci0/usb1/1-2/1-2:1.0/host2/block/sdb";
    let machine = Machine::with_a_stick().link(&format!("{disk}/sdb1/holders/dm-3"), "sys/dm-3");
    let found = machine.refusals(STICK, 1);
    assert_eq!(reasons(&found), ["held"]);
    assert!(found[0].message.contains("/dev/sdb1 is part of /dev/dm-3"), "{}", found[0]);
    let machine = Machine::with_a_stick().file("sys/block/loop4/loop/backing_file", "/dev/sdb\n");
    assert_eq!(reasons(&machine.refusals(STICK, 1)), ["held"]);
}

#[test]
fn the_systems_disk_is_known_through_all_layers() {
    // / is LVM on an encrypted partition of an NVMe disk.
    let (disk, crypt, volume) = ("pci0/nvme/nvme0/nvme0n1", "virtual/dm-0", "virtual/dm-1");
    let machine = Machine::new()
        .disk(disk, "259:0", "0\n")
        .partition(&format!("{disk}/nvme0n1p2"), "259:2")
        .disk(crypt, "253:0", "0\n")
        .disk(volume, "253:1", "0\n")
        .link(&format!("sys/devices/{disk}/subsystem"), "sys/class/nvme")
        .link(&format!("sys/devices/{disk}/nvme0n1p2/holders/dm-0"), "sys/devices/virtual/dm-0")
        .link(
            &format!("sys/devices/{crypt}/slaves/nvme0n1p2"),
            &format!("sys/devices/{disk}/nvme0n1p2"),
        )
        .link(&format!("sys/devices/{volume}/slaves/dm-0"), &format!("sys/devices/{crypt}"))
        .file("proc/self/mountinfo", "27 1 253:1 / / rw - ext4 /dev/mapper/vg-root rw\n");
    let found = machine.refusals((259, 0), 1);
    assert_eq!(reasons(&found), ["system", "held", "fixed-disk"]);
    assert!(found[0].message.contains("this computer runs from /dev/nvme0n1"), "{}", found[0]);
    assert_eq!(machine.look((259, 0)).bus.as_deref(), Some("nvme"));
}

#[test]
fn disks_that_cannot_hold_it_say_why() {
    let disk = "sys/devices/pci0/usb1/1-2/1-2:1.0/host2/block/sdb";
    let with = |file: &str, text: &str| {
        let machine = Machine::with_a_stick().file(&format!("{disk}/{file}"), text);
        machine.refusals(STICK, 4_000_000_000)
    };
    assert_eq!(reasons(&with("ro", "1\n")), ["read-only"]);
    assert_eq!(reasons(&with("size", "0\n")), ["no-medium"]);
    assert_eq!(reasons(&with("queue/logical_block_size", "4096\n")), ["sector-size"]);
    let small = with("size", "7812499\n");
    assert_eq!(reasons(&small), ["too-small"]);
    assert!(small[0].message.contains("(3999999488 bytes)"), "{}", small[0]);
    assert_eq!(with("size", "7812500\n"), []);
}

/// A loop device over a file; gone at the end of the test.
struct Loop {
    device: String,
    file: PathBuf,
}

impl Loop {
    /// `None`, and says so, where this user or machine can't make one.
    fn new(tree: &Tree, contents: &[u8], options: &[&str]) -> Option<Self> {
        let file = tree.path("disk");
        std::fs::write(&file, contents).unwrap();
        let output = Command::new("losetup")
            .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()))
            .args(["--find", "--show", "--partscan"])
            .args(options)
            .arg(&file)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
                Some(Self { device, file })
            }
            other => {
                let root = nix::unistd::geteuid().is_root();
                eprintln!("SKIPPED: no loop device can be made here (root: {root}): {other:?}");
                None
            }
        }
    }

    /// What is on it, after whatever the kernel has not written yet.
    fn contents(&self) -> Vec<u8> {
        Command::new("sync").arg(&self.device).status().unwrap();
        std::fs::read(&self.file).unwrap()
    }

    fn name(&self) -> &str {
        self.device.trim_start_matches("/dev/")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let _ = Command::new("losetup").env("PATH", path).args(["-d", &self.device]).status();
    }
}

fn command(program: &str, arguments: &[&str]) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let output = Command::new(program).env("PATH", path).args(arguments).output();
    let ended = output.as_ref().is_ok_and(|output| output.status.success());
    if !ended {
        eprintln!("{program} {arguments:?}: {output:?}");
    }
    ended
}

const FLASH: [&str; 4] = ["flash", "--board", "camera", "--yes"];
const SURE: &str = "--dangerously-write-fixed-disk";
const OLD: u8 = 0xee;

#[test]
fn a_loop_device_is_written_verified_and_its_old_data_gone() {
    let tree = Tree::new();
    let image = image::make(&tree.path("out/camera"));
    let before = vec![OLD; 16 * MIB as usize];
    let Some(disk) = Loop::new(&tree, &before, &[]) else { return };

    let ended = tree.run(&[&FLASH[..], &[&disk.device]].concat());
    assert_eq!(ended.code(), 3, "{}", ended.stderr());
    assert!(ended.stderr().contains(SURE), "{}", ended.stderr());
    assert!(disk.contents() == before);

    let ended = tree.run(&[&FLASH[..], &[SURE, "--json", &disk.device]].concat());
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let report: serde_json::Value = serde_json::from_str(&ended.stdout()).unwrap();
    assert_eq!(report["outcome"], "verified");
    assert_eq!(report["target"]["disk"]["bytes"], 16 * MIB);
    assert_eq!(report["target"]["contents"]["kind"], "data");
    let after = disk.contents();
    assert!(after[..image.len()] == image);
    assert!(after[HOLE.start as usize..HOLE.end as usize].iter().all(|byte| *byte == 0));
    assert!(after[15 * MIB as usize..].iter().all(|byte| *byte == 0));
    assert!(after[BYTES as usize..15 * MIB as usize].iter().all(|byte| *byte == OLD));
}

#[test]
fn a_loop_device_that_cannot_hold_it_is_left_alone() {
    let tree = Tree::new();
    image::make(&tree.path("out/camera"));
    for (bytes, options, words) in [
        (BYTES - 512, &[][..], "is too small"),
        (16 * MIB, &["--read-only"], "can't be written to"),
        (16 * MIB, &["--sector-size", "4096"], "sectors of 4096 bytes"),
    ] {
        let before = vec![OLD; bytes as usize];
        let Some(disk) = Loop::new(&tree, &before, options) else { return };
        let ended = tree.run(&[&FLASH[..], &[SURE, &disk.device]].concat());
        assert_eq!(ended.code(), 3, "{}", ended.stderr());
        assert!(ended.stderr().contains(words), "{}", ended.stderr());
        assert!(disk.contents() == before);
    }
}

/// A disk with one partition of 8 MiB, and in it whatever `mke2fs` makes.
fn partitioned() -> Vec<u8> {
    let mut disk = vec![0; 16 * MIB as usize];
    disk[450] = 0x83;
    disk[454..458].copy_from_slice(&2048_u32.to_le_bytes());
    disk[458..462].copy_from_slice(&16384_u32.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

#[test]
fn a_mounted_partition_protects_its_disk_and_the_file_below() {
    let tree = Tree::new();
    image::make(&tree.path("out/camera"));
    let Some(disk) = Loop::new(&tree, &partitioned(), &[]) else { return };
    let partition = format!("{}p1", disk.device);
    let point = tree.path("point");
    std::fs::create_dir(&point).unwrap();
    let point = point.to_str().unwrap();
    if !Path::new(&partition).exists() {
        // A kernel that does not know such tables takes its word for it.
        command("addpart", &[&disk.device, "1", "2048", "16384"]);
    }
    if !command("mke2fs", &["-q", "-F", &partition]) || !command("mount", &[&partition, point]) {
        eprintln!("SKIPPED: {partition} can't be mounted here");
        return;
    }
    let refused = tree.run(&[&FLASH[..], &[SURE, &disk.device]].concat());
    let below = tree.run(&[&FLASH[..], &["disk"]].concat());
    let named = tree.run(&[&FLASH[..], &[SURE, &partition]].concat());
    assert!(command("umount", &[point]));
    assert_eq!(refused.code(), 3, "{}", refused.stderr());
    let words = format!("{partition} is mounted at {point}");
    assert!(refused.stderr().contains(&words), "{}", refused.stderr());
    assert_eq!(below.code(), 3, "{}", below.stderr());
    assert!(
        below.stderr().contains(&format!("/dev/{} reads from", disk.name())),
        "{}",
        below.stderr()
    );
    assert_eq!(named.code(), 3, "{}", named.stderr());
    assert!(named.stderr().contains("is a partition"), "{}", named.stderr());
    assert!(disk.contents()[446..512] == partitioned()[446..512]);

    // Nobody uses it any more; the kernel then knows what is on it.
    let ended = tree.run(&[&FLASH[..], &[SURE, &disk.device]].concat());
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    // udev may look at the partition just then, and looks again afterwards.
    let deadline = Instant::now() + Duration::from_secs(60);
    while Path::new(&partition).exists() {
        assert!(Instant::now() < deadline, "the kernel still knows the old partition");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_disk_that_somebody_has_for_himself_is_refused_though_nothing_shows_it() {
    let tree = Tree::new();
    image::make(&tree.path("out/camera"));
    let before = vec![OLD; 16 * MIB as usize];
    let Some(disk) = Loop::new(&tree, &before, &[]) else { return };
    let exclusive = nix::libc::O_EXCL;
    let held = std::fs::OpenOptions::new().read(true).custom_flags(exclusive).open(&disk.device);
    let ended = tree.run(&[&FLASH[..], &[SURE, &disk.device]].concat());
    drop(held.unwrap());
    assert_eq!(ended.code(), 3, "{}", ended.stderr());
    assert!(ended.stderr().contains("is in use, the kernel says"), "{}", ended.stderr());
    assert!(disk.contents() == before);
}

#[test]
fn a_device_built_upon_a_disk_protects_it() {
    let tree = Tree::new();
    image::make(&tree.path("out/camera"));
    let before = vec![OLD; 16 * MIB as usize];
    let Some(disk) = Loop::new(&tree, &before, &[]) else { return };
    let name = format!("peercam-test-{}", disk.name());
    let table = format!("0 1024 linear {} 0", disk.device);
    if !command("dmsetup", &["create", "--noudevsync", &name, "--table", &table]) {
        eprintln!("SKIPPED: no device mapper here");
        return;
    }
    let ended = tree.run(&[&FLASH[..], &[SURE, &disk.device]].concat());
    assert!(command("dmsetup", &["remove", "--noudevsync", "--retry", &name]));
    assert_eq!(ended.code(), 3, "{}", ended.stderr());
    assert!(ended.stderr().contains("is part of /dev/dm-"), "{}", ended.stderr());
    assert!(disk.contents() == before);
}
