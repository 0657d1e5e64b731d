//! `flash` to files, as a person meets it; what is different with disks is in
//! `flash-disks.rs`.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/image.rs"]
mod image;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use common::Tree;
use image::{BYTES, HOLE, MIB, has_a_table};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peercam_firmware::flash::disk::Kernel;
use peercam_firmware::flash::interrupt::Interrupt;
use peercam_firmware::flash::target::{Allowed, Target};
use peercam_firmware::flash::write::{Stage, Written, check, write};
use peercam_firmware::flash::{Error, Image};

/// A tree with an image of the board `camera`, and what is in the image.
fn tree() -> (Tree, Vec<u8>) {
    let tree = Tree::new();
    let image = image::make(&tree.path("out/camera"));
    (tree, image)
}

const OLD: u8 = 0xee;

/// A file full of old data.
fn old(tree: &Tree, bytes: u64) -> std::path::PathBuf {
    let path = tree.path("card.img");
    std::fs::write(&path, vec![OLD; bytes as usize]).unwrap();
    path
}

#[test]
fn a_new_file_becomes_the_image_and_stays_sparse() {
    let (tree, image) = tree();
    let ended = tree.run(&["flash", "--board", "camera", "card.img"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    assert!(std::fs::read(tree.path("card.img")).unwrap() == image);
    let blocks = std::fs::metadata(tree.path("card.img")).unwrap().blocks() * 512;
    assert!(blocks < BYTES - (HOLE.end - HOLE.start) / 2, "{blocks}");
    assert!(ended.stderr().contains("card.img (new)"), "{}", ended.stderr());
    assert!(ended.stderr().contains("read back: 9.5 MB"), "{}", ended.stderr());
    assert_eq!(ended.stdout(), "");
}

#[test]
fn old_data_does_not_shine_through_the_holes_and_a_larger_file_keeps_its_size() {
    let (tree, image) = tree();
    let path = old(&tree, 16 * MIB);
    let ended = tree.run(&["flash", "--board", "camera", "--yes", "card.img"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let written = std::fs::read(path).unwrap();
    assert_eq!(written.len() as u64, 16 * MIB);
    assert!(written[..image.len()] == image);
    let (middle, end) = written[image.len()..].split_at((15 * MIB - BYTES) as usize);
    assert!(middle.iter().all(|byte| *byte == OLD));
    assert!(end.iter().all(|byte| *byte == 0), "an old backup table could be there");
}

#[test]
fn a_smaller_file_grows() {
    let (tree, image) = tree();
    let path = old(&tree, MIB);
    let ended = tree.run(&["flash", "--board", "camera", "--yes", "card.img"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    assert!(std::fs::read(path).unwrap() == image);
}

#[test]
fn without_a_terminal_it_takes_a_yes_on_the_command_line() {
    let (tree, _) = tree();
    let path = old(&tree, MIB);
    let ended = tree.run(&["flash", "--board", "camera", "card.img"]);
    assert_eq!(ended.code(), 3);
    assert!(ended.stderr().contains("--yes"), "{}", ended.stderr());
    assert!(ended.stderr().contains("on it: data without a partition table"), "{}", ended.stderr());
    assert!(std::fs::read(path).unwrap() == vec![OLD; MIB as usize]);
}

mod terminal {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    // asm-generic/ioctls.h: TIOCSPTLCK, TIOCGPTN.
    nix::ioctl_write_ptr!(set_lock, b'T', 0x31, nix::libc::c_int);
    nix::ioctl_read!(get_number, b'T', 0x30, nix::libc::c_uint);

    /// A new terminal: the person's end and the program's.
    pub fn open() -> (File, File) {
        let both = || File::options().read(true).write(true).to_owned();
        let person = both().open("/dev/ptmx").unwrap();
        let mut number = 0;
        // SAFETY: both requests take the address of an int that lives long enough.
        unsafe {
            set_lock(person.as_raw_fd(), &0).unwrap();
            get_number(person.as_raw_fd(), &mut number).unwrap();
        }
        (person, both().open(format!("/dev/pts/{number}")).unwrap())
    }
}

/// Runs `flash` on a terminal, types an answer, and returns the exit status and what was shown.
fn answer(tree: &Tree, answer: &str) -> (i32, String) {
    let (mut person, program) = terminal::open();
    let mut child = Command::new(env!("CARGO_BIN_EXE_peercam-firmware"))
        .args(["flash", "--board", "camera", "card.img"])
        .current_dir(tree.path("."))
        .env("XDG_CACHE_HOME", tree.path("cache"))
        .stdin(program.try_clone().unwrap())
        .stdout(Stdio::null())
        .stderr(program)
        .spawn()
        .unwrap();
    let mut shown = Vec::new();
    let mut byte = [0];
    // When the program has ended, reading from its terminal is an error.
    while !String::from_utf8_lossy(&shown).contains("Type yes: ") {
        assert_eq!(person.read(&mut byte).unwrap_or(0), 1, "{}", String::from_utf8_lossy(&shown));
        shown.push(byte[0]);
    }
    person.write_all(answer.as_bytes()).unwrap();
    while person.read(&mut byte).is_ok_and(|count| count == 1) {
        shown.push(byte[0]);
    }
    (child.wait().unwrap().code().unwrap(), String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn on_a_terminal_it_asks_and_only_yes_is_yes() {
    let (tree, image) = tree();
    let path = old(&tree, MIB);
    for no in ["no\n", "\n", "y\n", "yes please\n"] {
        let (status, shown) = answer(&tree, no);
        assert_eq!(status, 3, "{shown}");
        assert!(shown.contains("nothing was written"), "{shown}");
        assert!(std::fs::read(&path).unwrap() == vec![OLD; MIB as usize]);
    }
    let (status, shown) = answer(&tree, "yes\n");
    assert_eq!(status, 0, "{shown}");
    assert!(std::fs::read(path).unwrap() == image);
}

#[test]
fn an_image_that_is_not_its_manifests_is_not_written() {
    let (tree, mut image) = tree();
    image[5000] ^= 1;
    std::fs::write(tree.path("out/camera/peercam-camera.img"), image).unwrap();
    let path = old(&tree, MIB);
    for arguments in [["--board", "camera"], ["--image", "out/camera/peercam-camera.img"]] {
        let ended = tree.run(&[&["flash", "--yes", "card.img"], &arguments[..]].concat());
        assert_eq!(ended.code(), 1);
        assert!(ended.stderr().contains("is damaged or was changed"), "{}", ended.stderr());
        assert!(std::fs::read(&path).unwrap() == vec![OLD; MIB as usize]);
        let ended = tree.run(&[&["flash", "new.img"], &arguments[..]].concat());
        assert_eq!(ended.code(), 1);
        assert!(!tree.path("new.img").exists());
    }
}

#[test]
fn an_image_without_a_manifest_is_compared_with_itself() {
    let (tree, image) = tree();
    std::fs::write(tree.path("other.img"), &image).unwrap();
    let ended = tree.run(&["flash", "--image", "other.img", "card.img"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    assert!(ended.stderr().contains("no manifest beside it"), "{}", ended.stderr());
    assert!(std::fs::read(tree.path("card.img")).unwrap() == image);
}

#[test]
fn what_is_no_disk_is_refused_in_words() {
    let (tree, image) = tree();
    for (target, words) in [
        (".", "is a folder"),
        ("/dev/null", "neither a disk nor a file"),
        ("/dev/sdmisspelt", "there is no /dev/sdmisspelt: `lsblk`"),
        ("out/camera/peercam-camera.img", "is the image itself"),
    ] {
        let ended = tree.run(&["flash", "--board", "camera", "--yes", target]);
        assert_eq!(ended.code(), 3, "{target}: {}", ended.stderr());
        assert!(ended.stderr().contains(words), "{}", ended.stderr());
        assert!(ended.stderr().contains("nothing was written"), "{}", ended.stderr());
    }
    assert!(std::fs::read(tree.path("out/camera/peercam-camera.img")).unwrap() == image);
}

#[test]
fn usage_errors_and_missing_images_say_the_way_out() {
    let tree = Tree::new();
    for arguments in [&["flash", "card.img"][..], &["flash", "--board", "camera"]] {
        assert_eq!(tree.run(arguments).code(), 2);
    }
    let ended = tree.run(&["flash", "--board", "nope", "card.img"]);
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr().contains("there are: camera"), "{}", ended.stderr());
    let ended = tree.run(&["flash", "--board", "camera", "card.img"]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr().contains("build --board camera"), "{}", ended.stderr());
    let help = tree.run(&["flash", "--help"]).stdout();
    for words in ["lsblk", "--dangerously-write-fixed-disk", "Exit status", "written last"] {
        assert!(help.contains(words), "{words} is not in {help}");
    }
}

#[test]
fn machines_get_an_object_whatever_happens() {
    let (tree, _) = tree();
    let json = |arguments: &[&str]| -> (i32, serde_json::Value) {
        let ended = tree.run(&[&["flash", "--json", "--board", "camera"], arguments].concat());
        (ended.code(), serde_json::from_str(&ended.stdout()).unwrap())
    };
    let (code, report) = json(&["card.img"]);
    assert_eq!((code, &report["outcome"]), (0, &"verified".into()), "{report}");
    assert_eq!(report["sha256"], report["image"]["sha256"]);
    assert_eq!(report["image"]["board"], "camera");
    let sum =
        |names: [&str; 2]| -> u64 { names.map(|name| report[name].as_u64().unwrap()).iter().sum() };
    assert_eq!(sum(["data_bytes", "zero_bytes"]), BYTES);
    assert!(report["zero_bytes"].as_u64().unwrap() >= HOLE.end - HOLE.start, "{report}");

    let (code, report) = json(&["card.img"]);
    assert_eq!((code, &report["outcome"]), (3, &"refused".into()), "{report}");
    assert_eq!(report["target"]["contents"]["kind"], "peercam");
    assert_eq!(report["target"]["contents"]["partitions"][0]["label"], "boot");
    assert_eq!(report["target"]["contents"]["partitions"][0]["bytes"], 3 * MIB);
    assert!(report["error"].as_str().unwrap().contains("--yes"), "{report}");
    let (code, report) = json(&["/dev/sdmisspelt"]);
    assert_eq!((code, &report["target"]), (3, &serde_json::Value::Null), "{report}");
}

/// Writes the board's image to `card.img` by the library, so that a test can come between.
fn through(tree: &Tree, between: &mut dyn FnMut(Stage, u64, &Interrupt)) -> Result<Written, Error> {
    let image = Image::of_board(&tree.workspace(), "camera")?;
    let interrupt = Interrupt::default();
    let path = tree.path("card.img");
    let target = Target::examine(&Kernel::running(), &path, &image, Allowed::default())?;
    let claimed = target.claim()?;
    let sha256 = check(&image, &interrupt, &mut |stage, done, _| between(stage, done, &interrupt))?;
    write(&image, &sha256, claimed, &interrupt, &mut |stage, done, _| {
        between(stage, done, &interrupt);
    })
}

#[test]
fn whenever_it_is_interrupted_there_is_nothing_to_boot_from() {
    let (tree, image) = tree();
    let mut moments = 0;
    through(&tree, &mut |_, _, _| moments += 1).unwrap();
    assert!(moments > 25, "{moments}");
    let mut interrupted = 0;
    for moment in 0..moments {
        // What is overwritten is a whole image, with a table at the disk's end as well.
        let mut before = image.clone();
        before.resize(12 * MIB as usize, OLD);
        std::fs::write(tree.path("card.img"), &before).unwrap();
        let mut count = 0;
        let result = through(&tree, &mut |_, _, interrupt| {
            if count == moment {
                interrupt.raise(Signal::SIGINT);
            }
            count += 1;
        });
        let after = std::fs::read(tree.path("card.img")).unwrap();
        match result {
            Ok(_) => assert!(after[..image.len()] == image),
            Err(error @ Error::Interrupted { begun, .. }) => {
                assert_eq!(error.exit_status(), 130);
                assert_eq!(begun, has_a_table(&before) && !has_a_table(&after), "moment {moment}");
                assert_eq!(begun, after != before, "moment {moment}");
                interrupted += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Only once the partition table is being written it is too late.
    assert!(interrupted >= moments - 3, "{interrupted} of {moments}");
}

#[test]
fn what_changed_on_the_disk_is_found_and_the_disk_left_without_a_table() {
    let (tree, _) = tree();
    for place in [2 * MIB + 77, HOLE.start + 5, 9 * MIB - 70_000] {
        let path = old(&tree, 12 * MIB);
        let mut changed = false;
        let result = through(&tree, &mut |stage, _, _| {
            if stage == Stage::Verify && !changed {
                changed = true;
                let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, &[0x11], place).unwrap();
            }
        });
        let error = result.unwrap_err();
        assert_eq!(error.exit_status(), 4);
        assert!(error.to_string().contains(&format!("at byte {place}.")), "{error}");
        assert!(!has_a_table(&std::fs::read(&path).unwrap()));
    }
}

#[test]
fn an_image_that_changes_while_it_is_written_is_no_good_either() {
    let (tree, mut image) = tree();
    let source = tree.path("out/camera/peercam-camera.img");
    image[3 * MIB as usize] ^= 1;
    let mut changed = false;
    let error = through(&tree, &mut |stage, _, _| {
        if stage == Stage::Write && !changed {
            changed = true;
            std::fs::write(&source, &image).unwrap();
        }
    })
    .unwrap_err();
    assert!(matches!(error, Error::Mismatch { first: None, .. }), "{error}");
    // It was a new file.
    assert!(!tree.path("card.img").exists());
}

#[test]
fn a_disk_that_fails_in_the_middle_has_no_table() {
    let (tree, image) = tree();
    let mut before = image.clone();
    before.resize(12 * MIB as usize, OLD);
    std::fs::write(tree.path("card.img"), before).unwrap();
    // Writes beyond 3 MiB fail. The end, which is wiped first, lies beyond: a file without one.
    std::fs::File::options()
        .write(true)
        .open(tree.path("card.img"))
        .unwrap()
        .set_len(BYTES)
        .unwrap();
    let program = env!("CARGO_BIN_EXE_peercam-firmware");
    let output = Command::new("bash")
        .arg("-c")
        .arg(format!(
            "trap '' XFSZ; ulimit -f 3072; exec {program} flash --board camera --yes card.img"
        ))
        .current_dir(tree.path("."))
        .env("XDG_CACHE_HOME", tree.path("cache"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("nothing boots from it: write it again"), "{stderr}");
    let after = std::fs::read(tree.path("card.img")).unwrap();
    assert!(after[..MIB as usize].iter().all(|byte| *byte == 0));
}

fn begun(tree: &Tree) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_peercam-firmware"))
        .args(["flash", "--image", "large.img", "--yes", "card.img"])
        .current_dir(tree.path("."))
        .env("XDG_CACHE_HOME", tree.path("cache"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    (child, stderr)
}

#[test]
fn what_is_no_image_is_not_written() {
    let (tree, _) = tree();
    std::fs::write(tree.path("peercam.img.xz"), vec![7; 3 * MIB as usize]).unwrap();
    let card = old(&tree, MIB);
    let output = Command::new(env!("CARGO_BIN_EXE_peercam-firmware"))
        .args(["flash", "--image", "peercam.img.xz", "--yes", "card.img"])
        .current_dir(tree.path("."))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("peercam.img.xz is no image of peercam"), "{said}");
    assert_eq!(std::fs::read(card).unwrap(), vec![OLD; MIB as usize]);
}

#[test]
fn ctrl_c_and_a_polite_kill_say_what_is_there_now() {
    let (tree, _) = tree();
    let mut large = std::fs::read(tree.path("out/camera/peercam-camera.img")).unwrap();
    large.resize(64 * MIB as usize, 7);
    std::fs::write(tree.path("large.img"), large).unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // A machine may be so quick, or this test so slow, that it is written before the signal
        // comes.
        let said = (0..50).find_map(|_| {
            old(&tree, MIB);
            let (mut child, mut stderr) = begun(&tree);
            let mut line = String::new();
            while !line.contains("write …") {
                line.clear();
                assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended early");
            }
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
            let mut said = String::new();
            stderr.read_to_string(&mut said).unwrap();
            let status = child.wait().unwrap();
            assert_eq!(status.signal(), None, "{signal} is to be noticed, not to kill: {said}");
            (status.code() != Some(0)).then_some((status.code(), said))
        });
        let (code, said) = said.unwrap();
        assert_eq!(code, Some(128 + signal as i32), "{said}");
        assert!(said.contains("interrupted") && said.contains("write it again"), "{said}");
        let card = std::fs::read(tree.path("card.img")).unwrap();
        assert!(card[..MIB as usize].iter().all(|byte| *byte == 0));
    }
}
